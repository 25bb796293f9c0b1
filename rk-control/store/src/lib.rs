//! rk-store
