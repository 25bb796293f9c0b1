//! The ranges of pods and Services that the command line names: one, or one of each family.

use crate::args::Args;
use ipnet::IpNet;
use rk_controllers::PodRange;

/// How many bits longer a node's range is than that of all pods at most; upstream's bound.
const MOST_NODE_BITS: u8 = 16;
/// How many bits of a range's addresses may differ at most in a range of Services; upstream's bound, which IPv4 never reaches.
const MOST_SERVICE_BITS: u8 = 64;

/// The ranges of pods with what every node gets of them, the primary first.
///
/// # Errors
/// There are two of a family, or no such ranges can be cut from them.
pub fn of_pods(args: &Args) -> anyhow::Result<Vec<PodRange>> {
    let ranges = of_families("--pod-cidr", &args.pod_cidr)?;
    ranges.iter().map(|range| part(args, *range, ranges.len() > 1)).collect()
}

/// The ranges of Services, the primary first.
///
/// # Errors
/// There are two of a family, or one is too large.
pub fn of_services(args: &Args) -> anyhow::Result<Vec<IpNet>> {
    let ranges = of_families("--service-cidr", &args.service_cidr)?;
    for range in ranges {
        let (all, mask) = (range.max_prefix_len(), range.prefix_len());
        let least = all.saturating_sub(MOST_SERVICE_BITS);
        anyhow::ensure!(
            mask >= least,
            "--service-cidr {range} is too large; for {all}-bit addresses, the mask must be >= {least}"
        );
    }
    Ok(ranges.to_vec())
}

fn of_families<'a>(flag: &str, ranges: &'a [IpNet]) -> anyhow::Result<&'a [IpNet]> {
    let distinct = match ranges {
        [_] => true,
        [a, b] => a.addr().is_ipv4() != b.addr().is_ipv4(),
        _ => false,
    };
    anyhow::ensure!(distinct, "{flag} must be one range, or two of which one is IPv4 and the other IPv6");
    Ok(ranges)
}

fn part(args: &Args, range: IpNet, dual: bool) -> anyhow::Result<PodRange> {
    let v4 = range.addr().is_ipv4();
    anyhow::ensure!(
        !dual || args.node_cidr_mask_size.is_none(),
        "usage of --node-cidr-mask-size is not allowed with dual-stack clusters"
    );
    anyhow::ensure!(
        dual || !v4 || args.node_cidr_mask_size_ipv6.is_none(),
        "usage of --node-cidr-mask-size-ipv6 is not allowed for a single-stack IPv4 cluster"
    );
    anyhow::ensure!(
        dual || v4 || args.node_cidr_mask_size_ipv4.is_none(),
        "usage of --node-cidr-mask-size-ipv4 is not allowed for a single-stack IPv6 cluster"
    );
    let (of_family, default) =
        if v4 { (args.node_cidr_mask_size_ipv4, 24) } else { (args.node_cidr_mask_size_ipv6, 64) };
    let mask = args.node_cidr_mask_size.or(of_family).unwrap_or(default);
    let all = range.prefix_len();
    let most = range.max_prefix_len().min(all.saturating_add(MOST_NODE_BITS));
    anyhow::ensure!(
        (all..=most).contains(&mask),
        "nodes cannot get a /{mask} of {range}: --node-cidr-mask-size must be from {all} to {most}"
    );
    Ok(PodRange { range, mask })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn args(more: &str) -> Args {
        let line = format!("rk-control --data-dir d {more}");
        Args::try_parse_from(line.trim().split(' ')).expect("parses")
    }

    fn pods(more: &str) -> Result<String, String> {
        let shown = |pods: Vec<PodRange>| {
            pods.iter().map(|one| format!("{} by {}", one.range, one.mask)).collect::<Vec<_>>().join(", ")
        };
        of_pods(&args(more)).map(shown).map_err(|error| error.to_string())
    }

    fn services(more: &str) -> Result<usize, String> {
        of_services(&args(more)).map(|ranges| ranges.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn nodes_get_parts_of_one_range_or_of_one_of_each_family() {
        for (line, wanted) in [
            ("", "10.244.0.0/16 by 24"),
            ("--node-cidr-mask-size 22", "10.244.0.0/16 by 22"),
            ("--node-cidr-mask-size-ipv4 22", "10.244.0.0/16 by 22"),
            ("--pod-cidr fd00::/56", "fd00::/56 by 64"),
            ("--pod-cidr 10.244.0.0/16,fd00::/56", "10.244.0.0/16 by 24, fd00::/56 by 64"),
            (
                "--pod-cidr 10.244.0.0/16,fd00::/100 --node-cidr-mask-size-ipv4 25 --node-cidr-mask-size-ipv6 112",
                "10.244.0.0/16 by 25, fd00::/100 by 112",
            ),
        ] {
            assert_eq!(pods(line), Ok(wanted.to_owned()), "{line}");
        }
        let families = "--pod-cidr must be one range, or two of which one is IPv4 and the other IPv6";
        for (line, why) in [
            (
                "--node-cidr-mask-size 15",
                "nodes cannot get a /15 of 10.244.0.0/16: --node-cidr-mask-size must be from 16 to 32",
            ),
            (
                "--pod-cidr 10.0.0.0/25",
                "nodes cannot get a /24 of 10.0.0.0/25: --node-cidr-mask-size must be from 25 to 32",
            ),
            (
                "--pod-cidr fd00::/40",
                "nodes cannot get a /64 of fd00::/40: --node-cidr-mask-size must be from 40 to 56",
            ),
            ("--pod-cidr 10.1.0.0/16,10.2.0.0/16", families),
            ("--pod-cidr fd00::/56,fd01::/56", families),
            ("--pod-cidr 10.1.0.0/16,fd00::/56,fd01::/56", families),
            (
                "--pod-cidr 10.1.0.0/16,fd00::/56 --node-cidr-mask-size 24",
                "usage of --node-cidr-mask-size is not allowed with dual-stack clusters",
            ),
            (
                "--node-cidr-mask-size-ipv6 64",
                "usage of --node-cidr-mask-size-ipv6 is not allowed for a single-stack IPv4 cluster",
            ),
            (
                "--pod-cidr fd00::/56 --node-cidr-mask-size-ipv4 24",
                "usage of --node-cidr-mask-size-ipv4 is not allowed for a single-stack IPv6 cluster",
            ),
        ] {
            assert_eq!(pods(line), Err(why.to_owned()), "{line}");
        }
    }

    #[test]
    fn services_have_one_range_or_one_of_each_family() {
        assert_eq!(services(""), Ok(1));
        assert_eq!(services("--service-cidr 10.96.0.0/16,fd00:10:96::/112"), Ok(2));
        assert_eq!(services("--service-cidr 10.0.0.0/8,fd00::/64"), Ok(2));
        let large = "--service-cidr fd00::/56 is too large; for 128-bit addresses, the mask must be >= 64";
        assert_eq!(services("--service-cidr 10.96.0.0/16,fd00::/56"), Err(large.to_owned()));
        assert!(services("--service-cidr 10.96.0.0/16,10.97.0.0/16").is_err());
    }
}
