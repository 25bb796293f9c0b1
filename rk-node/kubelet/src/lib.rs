//! rk-kubelet
