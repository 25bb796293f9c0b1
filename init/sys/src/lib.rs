//! rk-sys
