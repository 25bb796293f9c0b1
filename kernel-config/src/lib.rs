//! rk-kernel
