//! What is done about a slot whose root is not what its hash says, or cannot be read.

/// The way out of a broken root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// The slot is on trial: the machine starts anew, the boot loader counts, and takes the good slot when it has had enough.
    Count,
    /// The other slot is taken from now on: the machine starts anew.
    Other,
    /// There is no other slot that boots, for this reason: to start anew would find the same root.
    Stay(String),
}

impl Remedy {
    /// Chooses. `trial`: whether the broken slot is on trial, `None` on a disk without slots; `leave` goes over to the other one, and
    /// refuses one that holds nothing, has failed its trial, is too old or was left itself. So two broken slots never send a machine to
    /// and fro.
    pub fn choose(trial: Option<bool>, leave: impl FnOnce() -> Result<(), String>) -> Remedy {
        match trial {
            None => Remedy::Stay("the disk has no second slot".to_owned()),
            Some(true) => Remedy::Count,
            Some(false) => leave().map_or_else(Remedy::Stay, |()| Remedy::Other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_slot_is_left_for_one_that_boots_and_a_trial_is_counted() {
        let stay = |text: &str| Remedy::Stay(text.to_owned());
        let none = || Err("slot b holds nothing that boots".to_owned());
        assert_eq!(Remedy::choose(Some(false), || Ok(())), Remedy::Other);
        assert_eq!(Remedy::choose(Some(false), none), stay("slot b holds nothing that boots"));
        assert_eq!(Remedy::choose(None, || Ok(())), stay("the disk has no second slot"));
        assert_eq!(Remedy::choose(Some(true), || panic!("a slot on trial was left")), Remedy::Count);
    }
}
