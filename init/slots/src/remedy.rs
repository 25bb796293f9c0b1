//! What is done about a slot whose root is not what its hash says, or cannot be read.

/// The way out of a broken root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// The slot is on trial: the machine restarts, and the boot loader counts and takes the good slot after the last try.
    Count,
    /// The other slot is booted from now on: the machine restarts.
    Other,
    /// The other slot may boot and could not be taken, for this reason: what failed once may not fail again.
    Again(String),
    /// There is no other slot that boots, for this reason: a restart would find the same root.
    Stay(String),
}

/// Why the other slot was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// It does not boot or must not; to ask again would bring the same answer.
    Unfit(String),
    /// The EFI partition could not be read or written.
    Failed(String),
}

impl Blocked {
    /// The reason alone.
    pub fn reason(self) -> String {
        match self {
            Blocked::Unfit(reason) | Blocked::Failed(reason) => reason,
        }
    }
}

impl Remedy {
    /// Chooses. `trial`: whether the broken slot is on trial, `None` on a disk without slots; `leave` goes over to the other one, and
    /// refuses one that holds nothing, has failed its trial, is too old or was left itself. So two broken slots never send a machine to
    /// and fro.
    pub fn choose(trial: Option<bool>, leave: impl FnOnce() -> Result<(), Blocked>) -> Remedy {
        match trial {
            None => Remedy::Stay("the disk has no second slot".to_owned()),
            Some(true) => Remedy::Count,
            Some(false) => match leave() {
                Ok(()) => Remedy::Other,
                Err(Blocked::Failed(reason)) => Remedy::Again(reason),
                Err(Blocked::Unfit(reason)) => Remedy::Stay(reason),
            },
        }
    }

    /// The one that counts where several disks were looked at: a way that one of them offers is taken.
    pub fn best(remedies: impl IntoIterator<Item = Remedy>) -> Option<Remedy> {
        remedies.into_iter().min_by_key(|remedy| match remedy {
            Remedy::Other => 0,
            Remedy::Count => 1,
            Remedy::Again(_) => 2,
            Remedy::Stay(_) => 3,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_slot_is_left_for_one_that_boots_and_a_trial_is_counted() {
        let stay = |text: &str| Remedy::Stay(text.to_owned());
        let none = || Err(Blocked::Unfit("slot b holds nothing that boots".to_owned()));
        assert_eq!(Remedy::choose(Some(false), || Ok(())), Remedy::Other);
        assert_eq!(Remedy::choose(Some(false), none), stay("slot b holds nothing that boots"));
        assert_eq!(Remedy::choose(None, || Ok(())), stay("the disk has no second slot"));
        assert_eq!(Remedy::choose(Some(true), || panic!("a slot on trial was left")), Remedy::Count);
    }

    #[test]
    fn a_write_that_failed_is_no_verdict_on_the_other_slot() {
        let failed = || Err(Blocked::Failed("input/output error".to_owned()));
        assert_eq!(Remedy::choose(Some(false), failed), Remedy::Again("input/output error".to_owned()));
        assert_eq!(failed().map_err(Blocked::reason), Err::<(), _>("input/output error".to_owned()));
    }

    #[test]
    fn of_several_disks_the_one_with_a_way_out_counts() {
        let (stay, again) = (Remedy::Stay("empty".to_owned()), Remedy::Again("slow".to_owned()));
        let table = [
            (vec![stay.clone(), Remedy::Other, Remedy::Count], Some(Remedy::Other)),
            (vec![again.clone(), Remedy::Count], Some(Remedy::Count)),
            (vec![stay.clone(), again.clone()], Some(again)),
            (vec![stay.clone()], Some(stay)),
            (vec![], None),
        ];
        for (remedies, wanted) in table {
            assert_eq!(Remedy::best(remedies), wanted);
        }
    }
}
