//! rk-shim-protocol
