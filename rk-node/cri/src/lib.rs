//! rk-cri
