//! rk-config
