//! rk-openapi
