//! rk-supervise
