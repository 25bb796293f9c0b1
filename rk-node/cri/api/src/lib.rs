//! rk-cri-api
