//! `install --dry-run`: the node tells of its disk, the image of the partitions; nothing is changed.

use super::disk::{config_of, first_message, sector_of};
use super::shapes;
use crate::args::{Format, Install};
use crate::connect::Client;
use crate::exit::{Class, Failure};
use crate::{image, output};
use anyhow::Result;
use rk_image::initramfs;
use rk_image::media::IMAGE_SECTOR;
use rk_machine_proto::v1::{Disk, InstallPlan};
use serde_json::{Value, json};

/// Tells what an installation would do.
///
/// # Errors
/// Whatever the installation would be refused for.
pub async fn install(client: &mut Client, wanted: &Install, format: Format) -> Result<Class> {
    let image = image::open(&wanted.image)?;
    let config = config_of(wanted)?;
    let (sector, plan) = match ask(client, wanted, &config, IMAGE_SECTOR).await {
        Ok(plan) => (IMAGE_SECTOR, plan),
        Err(refused) => {
            let Some(sector) = sector_of(&refused) else { return Err(refused) };
            (sector, ask(client, wanted, &config, sector).await?)
        }
    };
    let built_in = initramfs::has_config(&image.section(".initrd")?);
    let document = document(&image.version, &image.partitions, sector, &plan)?;
    match format {
        Format::Table => output::write(told(&document, &plan, start(!config.is_empty(), built_in)).as_bytes())?,
        _ => output::print(format, &shapes::PARTITIONS, false, &[(String::new(), document)])?,
    }
    if plan.needs_wipe && !wanted.wipe {
        let text = format!("{} is not empty: without --wipe the installation is refused", path_of(&plan));
        return Err(Failure::new(Class::Precondition, text).into());
    }
    Ok(Class::Good)
}

async fn ask(client: &mut Client, wanted: &Install, config: &str, sector: u64) -> Result<InstallPlan> {
    let request = first_message(wanted, config, sector)?;
    Ok(client.plan_install(request).await?.into_inner())
}

fn path_of(plan: &InstallPlan) -> &str {
    plan.disk.as_ref().map_or("the disk", |disk| disk.path.as_str())
}

/// All of it, for programs: what the node said, and what the image brings. The last partition takes what is left of the disk.
fn document(version: &str, partitions: &[(String, u64)], sector: u64, plan: &InstallPlan) -> Result<Value> {
    let last = partitions.len().saturating_sub(1);
    let made = partitions.iter().enumerate();
    let made: Vec<Value> =
        made.map(|(place, (name, bytes))| json!({"name": name, "size_bytes": bytes, "grows": place == last})).collect();
    let mut document = serde_json::to_value(plan)?;
    if let Value::Object(fields) = &mut document {
        fields.insert("version".to_owned(), version.into());
        fields.insert("image_sector_bytes".to_owned(), sector.into());
        fields.insert("partitions".to_owned(), made.into());
    }
    Ok(document)
}

/// What the machine would start with: a config that is given with the installation, or one of the image.
fn start(given: bool, built_in: bool) -> &'static str {
    match (given, built_in) {
        (true, _) => "The config would be put on its state partition.",
        (false, true) => "It would start with the config that is built into the image.",
        (false, false) => "It would start without a config and wait for one.",
    }
}

/// The same for people.
fn told(document: &Value, plan: &InstallPlan, start: &str) -> String {
    let Disk { path, size_bytes, bus, model, serial, .. } = plan.disk.clone().unwrap_or_default();
    let facts = [bus, model, serial].into_iter().filter(|fact| !fact.is_empty()).collect::<Vec<_>>().join(" ");
    let version = document.get("version").and_then(Value::as_str).unwrap_or_default();
    let mut text = format!("Disk: {path}, {} {facts}; {}\n", output::bytes(size_bytes), plan.reason);
    if plan.holds.is_empty() {
        text.push_str("It holds nothing.\n");
    } else {
        text.push_str("It holds, and --wipe erases:\n");
        let holds = json!({"disks": document.get("holds")});
        text.push_str(&output::table(&shapes::DISKS, false, &[(String::new(), holds)]));
    }
    text.push_str(&format!(
        "rk {version} would be written to it, with these partitions; the last one takes the rest:\n"
    ));
    text.push_str(&output::table(&shapes::PARTITIONS, false, &[(String::new(), document.clone())]));
    text.push_str(&format!("{start} Nothing was changed.\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_disk_reason_losses_and_partitions() {
        let disk = Disk { path: "/dev/sda".to_owned(), size_bytes: 1 << 30, bus: "ata".to_owned(), ..Disk::default() };
        let part = Disk { name: "sda1".to_owned(), label: "FAMILY".to_owned(), ..Disk::default() };
        let reason = "named by its path".to_owned();
        let full = InstallPlan { disk: Some(disk), reason, holds: vec![part], needs_wipe: true };
        let partitions = [("rk-esp".to_owned(), 1 << 20), ("rk-data".to_owned(), 2 << 20)];
        let shown = document("0.1.0", &partitions, 512, &full).unwrap();
        assert_eq!(shown["partitions"][1], json!({"name": "rk-data", "size_bytes": 2 << 20, "grows": true}));
        assert_eq!((&shown["needs_wipe"], &shown["disk"]["path"]), (&json!(true), &json!("/dev/sda")));
        let text = told(&shown, &full, start(true, false));
        for word in ["/dev/sda, 1.0 GiB ata; named by its path", "FAMILY", "rk 0.1.0", "rk-data", "Nothing was changed"]
        {
            assert!(text.contains(word), "{word}: {text}");
        }
        let empty = InstallPlan { holds: Vec::new(), needs_wipe: false, ..full };
        let shown = document("0.1.0", &partitions, 512, &empty).unwrap();
        let text = told(&shown, &empty, start(false, false));
        assert!(text.contains("It holds nothing") && text.contains("wait for one"), "{text}");
        assert!(told(&shown, &empty, start(false, true)).contains("built into the image"));
    }
}
