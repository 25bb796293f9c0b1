//! rk-api
