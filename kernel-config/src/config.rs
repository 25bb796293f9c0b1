//! The fragments, as data compiled in.

/// Name and text of each fragment, in the order in which they are merged.
pub fn fragments() -> [(&'static str, &'static str); 7] {
    [
        ("base", include_str!("../fragments/base.config")),
        ("virt", include_str!("../fragments/virt.config")),
        ("metal", include_str!("../fragments/metal.config")),
        ("containers", include_str!("../fragments/containers.config")),
        ("network", include_str!("../fragments/network.config")),
        ("filesystems", include_str!("../fragments/filesystems.config")),
        ("hardening", include_str!("../fragments/hardening.config")),
    ]
}

/// The symbols that a node cannot do without.
pub(crate) const REQUIRED: &str = include_str!("../required.symbols");

/// All fragments as one `KCONFIG_ALLCONFIG` file.
pub fn merged() -> String {
    fragments().iter().map(|(name, text)| format!("# {name}\n{text}")).collect()
}
