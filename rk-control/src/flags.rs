//! The flags of this process, as `/flagz` tells them.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches};

use crate::args::Args;

/// The command line as it was read, and every flag of it with its value, or its default, by its name; `None` for secrets.
pub struct Read {
    /// What was asked for.
    pub args: Args,
    /// What is shown of it.
    pub shown: BTreeMap<String, Option<String>>,
}

/// Reads a command line.
///
/// # Errors
/// clap's: it says what is wrong with it, or holds the text of help that was asked for.
pub fn read(line: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Read, clap::Error> {
    let command = Args::command();
    let matches = command.clone().try_get_matches_from(line)?;
    let args = Args::from_arg_matches(&matches)?;
    let shown =
        command.get_arguments().filter_map(|arg| Some((arg.get_long()?.to_owned(), value(arg, &matches)))).collect();
    Ok(Read { args, shown })
}

/// What may not be seen in the help may not be seen here.
fn value(arg: &Arg, matches: &ArgMatches) -> Option<String> {
    if arg.is_hide_env_values_set() {
        return None;
    }
    let given = matches.get_raw(arg.get_id().as_str()).into_iter().flatten();
    let values: Vec<_> = given.map(|value| without_userinfo(&value.to_string_lossy())).collect();
    let joined = values.join(",");
    // Lists are told apart from what is no list, as upstream shows them.
    Some(if matches!(arg.get_action(), ArgAction::Append) { format!("[{joined}]") } else { joined })
}

/// What a flag says, without the name and password that may stand in a URL.
fn without_userinfo(value: &str) -> String {
    let bare = value.split_once("://").and_then(|(scheme, rest)| {
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (_, host) = authority.rsplit_once('@')?;
        Some(format!("{scheme}://{host}{path}"))
    });
    bare.unwrap_or_else(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_shown_with_their_values_or_defaults_and_secrets_are_not() {
        let token = "abcdef.0123456789abcdef";
        let line = format!(
            "rk-control --data-dir d --bootstrap-token {token} --etcd http://a:1,http://u:s3cr3t@b:2/x@y --vip fd00::9"
        );
        let Read { args, shown } = read(line.split(' ')).expect("parses");
        assert_eq!((args.data_dir.to_str(), args.etcd.len()), (Some("d"), 2));
        for (name, want) in [
            ("data-dir", Some("d")),
            ("bootstrap-token", None),
            ("etcd", Some("[http://a:1,http://b:2/x@y]")),
            ("vip", Some("[fd00::9]")),
            ("pod-cidr", Some("[10.244.0.0/16]")),
            ("audit-log-maxsize", Some("100")),
            ("threads", Some("")),
            ("service-account-key-file", Some("[]")),
        ] {
            assert_eq!(shown.get(name).map(Option::as_deref), Some(want), "{name}");
        }
        assert!(!format!("{shown:?}").contains(token) && !format!("{shown:?}").contains("s3cr3t"));
        assert!(read(["rk-control"]).is_err());
    }
}
