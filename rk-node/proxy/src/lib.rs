//! rk-proxy
