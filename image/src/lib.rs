//! rk-image
