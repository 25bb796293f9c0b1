//! Config maps, secrets, service accounts, quotas.

use serde_json::Value;

use super::column::{AGE, Column, Context, NAME};

pub(super) const CONFIG_MAPS: &[Column] =
    &[NAME, Column::new("Data", "How many entries it has.", |c| entries(c, &["data", "binaryData"])), AGE];

pub(super) const SECRETS: &[Column] = &[
    NAME,
    Column::new("Type", "What the secret is for.", |c| c.text(&["type"]).into()),
    Column::new("Data", "How many entries it has.", |c| entries(c, &["data"])),
    AGE,
];

pub(super) const SERVICE_ACCOUNTS: &[Column] =
    &[NAME, Column::new("Secrets", "How many secrets it names.", |c| c.list(&["secrets"]).len().into()), AGE];

pub(super) const RESOURCE_QUOTAS: &[Column] = &[
    NAME,
    Column::new("Request", "Requests: used and allowed.", |c| quota(c, false)),
    Column::new("Limit", "Limits: used and allowed.", |c| quota(c, true)),
    AGE,
];

fn entries(c: &Context<'_>, fields: &[&str]) -> Value {
    let count: usize = fields.iter().filter_map(|field| c.at(&[field]).as_object()).map(serde_json::Map::len).sum();
    count.into()
}

fn quota(c: &Context<'_>, limits: bool) -> Value {
    let hard = c.at(&["status", "hard"]).as_object().into_iter().flatten();
    let own = hard.filter(|(name, _)| name.starts_with("limits.") == limits);
    let parts: Vec<String> = own
        .map(|(name, hard)| {
            let used = c.text(&["status", "used", name]);
            format!("{name}: {}/{}", if used.is_empty() { "0" } else { used }, hard.as_str().unwrap_or_default())
        })
        .collect();
    parts.join(", ").into()
}
