//! `cpuManagerPolicyOptions` (KEP-2625 and those that follow it).

/// What the static policy does besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuOptions {
    /// Only whole cores are given; who asks for parts of one is refused (`full-pcpus-only`).
    pub full_cores: bool,
    /// Who needs several memory nodes gets as many CPUs of each (`distribute-cpus-across-numa`).
    pub distribute: bool,
    /// CPUs are aligned by sockets where these hold several memory nodes (`align-by-socket`).
    pub by_socket: bool,
    /// Those who share get none of the reserved CPUs either (`strict-cpu-reservation`).
    pub strict: bool,
    /// CPUs of one last-level cache come before others (`prefer-align-cpus-by-uncorecache`).
    pub by_cache: bool,
}

impl CpuOptions {
    /// Sets an option by its name; false when there is none of this name.
    pub fn set(&mut self, name: &str, value: bool) -> bool {
        *match name {
            "full-pcpus-only" => &mut self.full_cores,
            "distribute-cpus-across-numa" => &mut self.distribute,
            "align-by-socket" => &mut self.by_socket,
            "strict-cpu-reservation" => &mut self.strict,
            "prefer-align-cpus-by-uncorecache" => &mut self.by_cache,
            _ => return false,
        } = value;
        true
    }

    /// Two options that exclude each other, if both are set.
    pub fn contradiction(&self) -> Option<&'static str> {
        match self {
            Self { by_socket: true, distribute: true, .. } => Some("align-by-socket and distribute-cpus-across-numa"),
            Self { by_cache: true, distribute: true, .. } => {
                Some("prefer-align-cpus-by-uncorecache and distribute-cpus-across-numa")
            }
            _ => None,
        }
    }
}
