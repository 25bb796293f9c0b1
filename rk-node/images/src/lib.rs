//! rk-images
