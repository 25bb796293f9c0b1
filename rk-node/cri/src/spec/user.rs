//! Who a container runs as: names and numbers resolved with the image's own `/etc/passwd` and `/etc/group`.

use rk_cri_api::v1::{LinuxContainerSecurityContext, SupplementalGroupsPolicy};
use serde::{Deserialize, Serialize};

/// The identity of a container's first process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// All groups, the primary one first.
    pub groups: Vec<u32>,
    /// Home directory. Found here, because libcontainer would ask the C library, which loads the image's own NSS modules.
    #[serde(default)]
    pub home: String,
}

/// Resolves the user that `security` or else the image's `image_user` asks for. `passwd` and `group` are the texts of the files in
/// the image, empty if it has none.
pub fn resolve(
    security: &LinuxContainerSecurityContext,
    image_user: &str,
    passwd: &str,
    group: &str,
) -> Result<User, String> {
    let wanted = wanted(security, image_user)?;
    let (who, of) = wanted.split_once(':').map_or((wanted.as_str(), None), |(who, of)| (who, Some(of)));
    let found = find_user(who, passwd)?;
    let gid = match of.filter(|of| !of.is_empty()) {
        Some(of) => find_group(of, group)?,
        None => found.gid.unwrap_or(0),
    };
    let mut groups = vec![gid];
    let merge = security.supplemental_groups_policy() == SupplementalGroupsPolicy::Merge;
    if merge && let Some(name) = found.name {
        groups.extend(memberships(name, group));
    }
    for id in &security.supplemental_groups {
        groups.push(u32::try_from(*id).map_err(|_| format!("supplemental group {id} is out of range"))?);
    }
    let mut seen = std::collections::BTreeSet::new();
    groups.retain(|id| seen.insert(*id));
    Ok(User { uid: found.uid, gid, groups, home: found.home.unwrap_or("/").to_owned() })
}

fn wanted(security: &LinuxContainerSecurityContext, image_user: &str) -> Result<String, String> {
    let mut user = match (&security.run_as_user, security.run_as_username.as_str()) {
        (Some(uid), _) => uid.value.to_string(),
        (None, "") => String::new(),
        (None, name) => name.to_owned(),
    };
    if let Some(gid) = &security.run_as_group {
        if user.is_empty() {
            return Err(format!("user group \"{}\" is specified without user", gid.value));
        }
        user = format!("{user}:{}", gid.value);
    }
    if user.is_empty() {
        user = image_user.to_owned();
    }
    Ok(if user.is_empty() { "0".into() } else { user })
}

/// An entry of passwd, or a bare number.
struct Found<'a> {
    uid: u32,
    gid: Option<u32>,
    name: Option<&'a str>,
    home: Option<&'a str>,
}

fn find_user<'a>(who: &str, passwd: &'a str) -> Result<Found<'a>, String> {
    let number = who.parse::<u32>().ok();
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, rest @ ..] = fields.as_slice() else { continue };
        let (Ok(uid), Ok(gid)) = (uid.parse::<u32>(), gid.parse::<u32>()) else { continue };
        if *name == who || number == Some(uid) {
            let home = rest.get(1).copied().filter(|home| !home.is_empty());
            return Ok(Found { uid, gid: Some(gid), name: Some(name), home });
        }
    }
    match number {
        Some(uid) => Ok(Found { uid, gid: None, name: None, home: None }),
        None => Err(format!("unable to find user {who}: no matching entries in passwd file")),
    }
}

fn find_group(which: &str, group: &str) -> Result<u32, String> {
    let named = group.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(which)).then(|| fields.nth(1))?.and_then(|gid| gid.parse().ok())
    });
    named
        .or_else(|| which.parse().ok())
        .ok_or_else(|| format!("unable to find group {which}: no matching entries in group file"))
}

fn memberships(user: &str, group: &str) -> Vec<u32> {
    group
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [_, _, gid, members] = fields.as_slice() else { return None };
            members.split(',').any(|member| member.trim() == user).then(|| gid.parse().ok())?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rk_cri_api::v1::Int64Value;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/false\nbroken\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlogs:x:90:web,other\n";

    fn security(
        user: Option<i64>,
        name: &str,
        group: Option<i64>,
        extra: &[i64],
        strict: bool,
    ) -> LinuxContainerSecurityContext {
        LinuxContainerSecurityContext {
            run_as_user: user.map(|value| Int64Value { value }),
            run_as_username: name.into(),
            run_as_group: group.map(|value| Int64Value { value }),
            supplemental_groups: extra.to_vec(),
            supplemental_groups_policy: i32::from(strict),
            ..Default::default()
        }
    }

    #[test]
    fn users_are_found_as_numbers_names_and_pairs() {
        for (wish, image, uid, gid, groups, home) in [
            (security(None, "", None, &[], false), "", 0, 0, vec![0], "/root"),
            (security(None, "", None, &[], false), "web", 33, 34, vec![34, 90], "/srv"),
            (security(None, "", None, &[], false), "web:logs", 33, 90, vec![90], "/srv"),
            (security(Some(1000), "", None, &[2000], false), "web", 1000, 0, vec![0, 2000], "/"),
            (security(Some(33), "", None, &[7], false), "", 33, 34, vec![34, 90, 7], "/srv"),
            (security(Some(33), "", None, &[7], true), "", 33, 34, vec![34, 7], "/srv"),
            (security(Some(1), "", Some(5), &[], false), "", 1, 5, vec![5], "/"),
            (security(None, "web", None, &[], false), "", 33, 34, vec![34, 90], "/srv"),
        ] {
            assert_eq!(
                resolve(&wish, image, PASSWD, GROUP).unwrap(),
                User { uid, gid, groups, home: home.into() },
                "{wish:?} {image}"
            );
        }
    }

    #[test]
    fn what_cannot_be_resolved_is_named() {
        let none = security(None, "", None, &[], false);
        assert!(resolve(&none, "ghost", PASSWD, GROUP).unwrap_err().contains("unable to find user ghost"));
        assert!(resolve(&none, "web:ghosts", PASSWD, GROUP).unwrap_err().contains("ghosts"));
        assert!(
            resolve(&security(None, "", Some(5), &[], false), "web", PASSWD, GROUP)
                .unwrap_err()
                .contains("without user")
        );
        assert!(resolve(&security(Some(-1), "", None, &[], false), "", PASSWD, GROUP).is_err());
    }
}
