//! Whether a finished `.config` holds what was asked for.

use std::collections::HashMap;

/// The entries of `required` that `config` does not satisfy, by symbol name.
///
/// `required` lists symbols separated by white space, `#` starts a comment, `!NAME` demands that a symbol is off.
pub fn missing_symbols(config: &str, required: &str) -> Vec<String> {
    let set = values(config);
    required
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(str::split_ascii_whitespace)
        .filter(|want| match want.strip_prefix('!') {
            Some(name) => set.get(name) == Some(&"y"),
            None => set.get(*want) != Some(&"y"),
        })
        .map(str::to_owned)
        .collect()
}

/// The lines of `wanted` (a fragment) that `config` does not have: symbols that this source does not know, or whose
/// parents are off.
pub(crate) fn dropped_lines(config: &str, wanted: &str) -> Vec<String> {
    let have = values(config);
    values(wanted)
        .into_iter()
        .filter(|(name, value)| have.get(name) != Some(value))
        .map(|(name, value)| format!("CONFIG_{name}={value}"))
        .collect()
}

fn values(config: &str) -> HashMap<&str, &str> {
    config.lines().filter_map(|line| line.trim().strip_prefix("CONFIG_")?.split_once('=')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "CONFIG_SMP=y\n# CONFIG_MODULES is not set\nCONFIG_HZ=250\nCONFIG_DEVMEM=y\n";

    #[test]
    fn a_missing_symbol_is_named() {
        assert_eq!(missing_symbols(CONFIG, "# words\nSMP VETH\nMODULES"), ["VETH", "MODULES"]);
    }

    #[test]
    fn a_symbol_that_must_be_off_is_named_when_on() {
        assert_eq!(missing_symbols(CONFIG, "!MODULES !DEVMEM !KEXEC"), ["!DEVMEM"]);
    }

    #[test]
    fn a_fragment_line_that_did_not_survive_is_shown() {
        assert_eq!(dropped_lines(CONFIG, "CONFIG_HZ=100\nCONFIG_SMP=y\n"), ["CONFIG_HZ=100"]);
    }

    #[test]
    fn what_is_required_is_asked_for_by_a_fragment() {
        let merged = crate::merged();
        // Selected by the architecture or by another symbol, so no fragment names them.
        let implied = ["NF_NAT", "SECCOMP_FILTER", "STRICT_KERNEL_RWX"];
        let unasked: Vec<String> = missing_symbols(&merged, crate::config::REQUIRED)
            .into_iter()
            .filter(|name| !implied.contains(&name.as_str()))
            .collect();
        assert_eq!(unasked, Vec::<String>::new());
    }

    #[test]
    fn no_symbol_is_named_twice_with_different_values() {
        let merged = crate::merged();
        let mut seen: HashMap<String, &str> = HashMap::new();
        for line in merged.lines() {
            let (name, value) = match (line.strip_prefix("CONFIG_"), line.strip_prefix("# CONFIG_")) {
                (Some(set), _) => set.split_once('=').unwrap(),
                (None, Some(off)) => (off.strip_suffix(" is not set").unwrap(), "n"),
                _ => continue,
            };
            assert_eq!(*seen.entry(name.to_owned()).or_insert(value), value, "CONFIG_{name}");
        }
    }
}
