//! rk-streaming
