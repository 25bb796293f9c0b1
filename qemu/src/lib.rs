//! rk-qemu
