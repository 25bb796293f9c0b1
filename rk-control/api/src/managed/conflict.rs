//! Fields that others own.

use super::entry::Id;
use super::set::FieldSet;
use crate::status::{Cause, Details, Reason, Status};

/// The fields that an apply would take from other managers.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Conflicts(pub Vec<(Id, FieldSet)>);

impl Conflicts {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that lie outside a set.
    pub(super) fn outside(&self, allowed: &FieldSet) -> Conflicts {
        let mut rest = self.clone();
        for (_, set) in &mut rest.0 {
            set.subtract(allowed);
        }
        rest.0.retain(|(_, set)| !set.is_empty());
        rest
    }

    /// 409 with one cause per field.
    pub(super) fn into_status(self) -> Status {
        let mut sorted = self.0;
        sorted.sort_by_cached_key(|(id, _)| id.sort_key());
        let all: Vec<(String, Vec<String>)> = sorted.iter().map(|(id, set)| (id.describe(), set.paths())).collect();
        let count: usize = all.iter().map(|(_, paths)| paths.len()).sum();
        let message = match all.as_slice() {
            [(manager, paths)] if paths.len() == 1 => {
                format!("Apply failed with 1 conflict: conflict with {manager}: {}", paths.concat())
            }
            _ => {
                let mut lines = Vec::new();
                for (manager, paths) in &all {
                    lines.push(format!("conflicts with {manager}:"));
                    lines.extend(paths.iter().map(|p| format!("- {p}")));
                }
                format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
            }
        };
        let cause = |manager: &str, path: &String| Cause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {manager}"),
            field: path.clone(),
        };
        let causes = all.iter().flat_map(|(manager, paths)| paths.iter().map(|p| cause(manager, p))).collect();
        Status::new(Reason::Conflict, message).with_details(Details { causes, ..Default::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers_are_told_by_name_and_appliers_before_updaters_and_those_of_a_subresource_first() {
        let mut ids = [
            Id::new(false, "m3", "apps/v1", ""),
            Id::new(false, "m3", "apps/v1", "status"),
            Id::new(false, "m1", "v1", ""),
            Id::new(true, "m1", "v1", ""),
            Id::new(true, "m1", "v1", "status"),
        ];
        ids.sort_by_cached_key(Id::sort_key);
        let told: Vec<String> = ids.iter().map(Id::describe).collect();
        let wanted = [
            r#""m1" with subresource "status""#,
            r#""m1""#,
            r#""m1" using v1"#,
            r#""m3" with subresource "status" using apps/v1"#,
            r#""m3" using apps/v1"#,
        ];
        assert_eq!(told, wanted);
    }
}
