//! `cpuManagerPolicyOptions` (KEP-2625 and those that follow it).

use super::assign::Order;

/// How far an option has come upstream in v1.36; only what is stable needs no feature gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maturity {
    /// Behind `CPUManagerPolicyAlphaOptions`, which is off unless told.
    Alpha,
    /// Behind `CPUManagerPolicyBetaOptions`, which is on unless told.
    Beta,
    /// Behind no gate.
    Stable,
}

/// What the static policy does besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuOptions {
    /// Only whole cores are given; who asks for parts of one is refused (`full-pcpus-only`).
    pub full_cores: bool,
    /// Who needs several memory nodes gets as many CPUs of each (`distribute-cpus-across-numa`).
    pub distribute: bool,
    /// CPUs are aligned by sockets where these hold several memory nodes (`align-by-socket`).
    pub by_socket: bool,
    /// Who gets less than a memory node or socket gets threads of as many cores as can be (`distribute-cpus-across-cores`).
    pub across_cores: bool,
    /// Those who share get none of the reserved CPUs either (`strict-cpu-reservation`).
    pub strict: bool,
    /// CPUs of one last-level cache come before others (`prefer-align-cpus-by-uncorecache`).
    pub by_cache: bool,
}

const FULL_CORES: &str = "full-pcpus-only";
const DISTRIBUTE: &str = "distribute-cpus-across-numa";
const BY_SOCKET: &str = "align-by-socket";
const ACROSS_CORES: &str = "distribute-cpus-across-cores";
const STRICT: &str = "strict-cpu-reservation";
const BY_CACHE: &str = "prefer-align-cpus-by-uncorecache";

impl CpuOptions {
    /// How far the option of this name has come; `None` when there is none.
    pub fn maturity(name: &str) -> Option<Maturity> {
        match name {
            FULL_CORES => Some(Maturity::Stable),
            DISTRIBUTE | STRICT | BY_CACHE => Some(Maturity::Beta),
            BY_SOCKET | ACROSS_CORES => Some(Maturity::Alpha),
            _ => None,
        }
    }

    /// Sets an option by its name.
    pub fn set(&mut self, name: &str, value: bool) {
        match name {
            FULL_CORES => self.full_cores = value,
            DISTRIBUTE => self.distribute = value,
            BY_SOCKET => self.by_socket = value,
            ACROSS_CORES => self.across_cores = value,
            STRICT => self.strict = value,
            BY_CACHE => self.by_cache = value,
            _ => {}
        }
    }

    /// Two options that exclude each other, if both are set (upstream's `NewStaticPolicyOptions`).
    pub fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        let pairs = [
            (self.full_cores && self.across_cores, FULL_CORES, ACROSS_CORES),
            (self.distribute && self.across_cores, DISTRIBUTE, ACROSS_CORES),
            (self.by_cache && self.across_cores, BY_CACHE, ACROSS_CORES),
            (self.by_cache && self.distribute, BY_CACHE, DISTRIBUTE),
        ];
        pairs.into_iter().find(|(both, _, _)| *both).map(|(_, one, other)| (one, other))
    }

    /// Which CPUs come first where a whole memory node or socket is too much.
    pub(super) fn order(&self) -> Order {
        match self {
            Self { across_cores: true, .. } => Order::Spread,
            Self { by_cache: true, .. } => Order::ByCache,
            _ => Order::Packed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_exclude_each_other_are_named_in_upstreams_order() {
        for (set, want) in [
            (&[FULL_CORES, DISTRIBUTE, BY_SOCKET, STRICT][..], None),
            (&[FULL_CORES, BY_SOCKET, STRICT, BY_CACHE], None),
            (&[ACROSS_CORES, BY_SOCKET, STRICT], None),
            (&[FULL_CORES, ACROSS_CORES], Some((FULL_CORES, ACROSS_CORES))),
            (&[DISTRIBUTE, ACROSS_CORES], Some((DISTRIBUTE, ACROSS_CORES))),
            (&[BY_CACHE, ACROSS_CORES], Some((BY_CACHE, ACROSS_CORES))),
            (&[DISTRIBUTE, BY_CACHE], Some((BY_CACHE, DISTRIBUTE))),
        ] {
            let mut options = CpuOptions::default();
            for name in set {
                assert!(CpuOptions::maturity(name).is_some(), "{name}");
                options.set(name, true);
            }
            assert_eq!(options.contradiction(), want, "{set:?}");
        }
        assert_eq!(CpuOptions::maturity("pears"), None);
    }
}
