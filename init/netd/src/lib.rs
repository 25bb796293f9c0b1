//! rk-netd
