//! rk-scheduler
