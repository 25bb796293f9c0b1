//! What must or should stay free on the node, by upstream's names of its signals.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::node::Signal;

/// An amount of something that the node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Bytes or pieces.
    Units(u64),
    /// Of all that there is, in hundredths of a percent.
    Share(u64),
}

impl Amount {
    /// Reads a quantity (`100Mi`) or a percentage (`10%`).
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('%') {
            Some(number) => {
                let percent: f64 = number.parse().ok().filter(|p| (0.0..=100.0).contains(p))?;
                Some(Self::Share((percent * 100.0).round() as u64))
            }
            None => crate::quantity::units(text).and_then(|n| u64::try_from(n).ok()).map(Self::Units),
        }
    }

    /// The amount, of so many in all.
    pub fn of(self, all: u64) -> u64 {
        match self {
            Self::Units(units) => units,
            Self::Share(share) => u64::try_from(u128::from(all) * u128::from(share) / 10_000).unwrap_or(u64::MAX),
        }
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Units(units) if *units > 0 && units % (1 << 20) == 0 => write!(f, "{}Mi", units >> 20),
            Self::Units(units) => write!(f, "{units}"),
            Self::Share(share) if share % 100 == 0 => write!(f, "{}%", share / 100),
            Self::Share(share) => write!(f, "{}%", *share as f64 / 100.0),
        }
    }
}

/// What must stay free on the node (upstream's `evictionHard`). Zero means that nothing is ever too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Available memory (`memory.available`).
    pub memory: Amount,
    /// Free space of the disk that holds pods (`nodefs.available`).
    pub disk: Amount,
    /// Its free inodes (`nodefs.inodesFree`).
    pub inodes: Amount,
    /// Free space of the disk that holds images (`imagefs.available`); here it is the one of the pods.
    pub image_disk: Amount,
    /// Its free inodes (`imagefs.inodesFree`).
    pub image_inodes: Amount,
    /// Free process IDs (`pid.available`).
    pub pids: Amount,
}

impl Thresholds {
    /// Nothing is ever too little.
    pub fn none() -> Self {
        let none = Amount::Units(0);
        Self { memory: none, disk: none, inodes: none, image_disk: none, image_inodes: none, pids: none }
    }
}

impl Thresholds {
    /// The threshold of a signal.
    pub fn of(self, signal: Signal) -> Amount {
        match signal {
            Signal::Memory | Signal::PodsMemory => self.memory,
            Signal::Disk => self.disk,
            Signal::ImageDisk => self.image_disk,
            Signal::Inodes => self.inodes,
            Signal::ImageInodes => self.image_inodes,
            Signal::Pids => self.pids,
        }
    }

    /// Sets the threshold of a signal.
    pub fn set(&mut self, signal: Signal, amount: Amount) {
        *match signal {
            Signal::Memory | Signal::PodsMemory => &mut self.memory,
            Signal::Disk => &mut self.disk,
            Signal::ImageDisk => &mut self.image_disk,
            Signal::Inodes => &mut self.inodes,
            Signal::ImageInodes => &mut self.image_inodes,
            Signal::Pids => &mut self.pids,
        } = amount;
    }
}

/// Thresholds below which pods go only after a while, and with time to end (upstream's `evictionSoft`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoftEviction {
    /// What should stay free.
    pub thresholds: Thresholds,
    /// For how long less of it is borne; every signal with a threshold has one.
    pub grace: BTreeMap<Signal, Duration>,
    /// Longest grace period of a pod that goes for it, seconds (`evictionMaxPodGracePeriod`).
    pub pod_grace: i64,
}

impl Default for SoftEviction {
    fn default() -> Self {
        Self { thresholds: Thresholds::none(), grace: BTreeMap::new(), pod_grace: 0 }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            memory: Amount::Units(100 << 20),
            disk: Amount::Share(1000),
            inodes: Amount::Share(500),
            image_disk: Amount::Share(1500),
            image_inodes: Amount::Share(500),
            pids: Amount::Share(1000),
        }
    }
}
