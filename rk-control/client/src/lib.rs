//! rk-client
