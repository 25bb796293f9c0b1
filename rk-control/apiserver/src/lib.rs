//! rk-apiserver
