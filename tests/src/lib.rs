//! rk-tests
