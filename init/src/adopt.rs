//! Taking a config: the first one, a changed one, one on trial.

use crate::discover::{self, Found};
use crate::pid1::Machine;
use crate::slots::Slots;
use crate::{boot, control_plane, etc, services, storage, swap};
use rk_config::{ACCEPTED_PATH, MAX_CONFIG_BYTES, MachineConfig, OFFERED_PATH, Parsed};
use rk_supervise::control::PASSPHRASE;
use rk_supervise::{Event, Millis};
use rk_sys::End;
use std::fs::{self, File};
use std::io::Read;

/// A config that is taken back unless it is confirmed.
#[derive(Debug)]
pub struct Trial {
    until: Millis,
    before: Box<MachineConfig>,
    source: String,
}

impl Machine {
    /// Looks at the local places while there is no config; when none has one, the node is opened for maintenance.
    pub(crate) fn look_for_config(&mut self, now: Millis) {
        if self.config.is_some() || self.is_going_down() || now < self.look.at {
            return;
        }
        self.look.at = now + self.look.backoff.take();
        if !self.storage.locked.is_empty() {
            return self.wait_for_a_passphrase(now);
        }
        match discover::look(&mut self.journal, &self.settings.cmdline) {
            Found::Accepted { source, config, unknown } => {
                for key in unknown {
                    self.journal.say(format_args!("config key {key} is unknown and has no effect"));
                }
                self.built_in = source.is_of_the_image().then(|| config.clone());
                if let Err(reason) = self.change(now, &source.to_string(), config) {
                    self.journal.say(reason);
                }
                self.keep_built_in();
            }
            Found::Refused(lines) => {
                if lines != self.look.said {
                    for line in &lines {
                        self.journal.say(line);
                    }
                    self.journal.say("the node waits for a good machine config and keeps looking");
                    self.look.said = lines;
                }
                self.open_for_maintenance(now);
            }
        }
    }

    /// Keeps what the image brought for those after it, unless it is on trial. Asked again when it is good.
    pub(crate) fn keep_built_in(&mut self) {
        if self.slots.as_ref().is_none_or(Slots::on_trial) {
            return;
        }
        let Some(config) = self.built_in.take() else { return };
        let kept =
            rk_config::to_yaml(&config).map_err(|err| err.to_string()).and_then(|yaml| discover::keep_built_in(&yaml));
        if let Err(reason) = kept {
            self.journal.say(format_args!("keeping the image's config for the next image failed: {reason}"));
        }
    }

    /// A machine whose disk does not open takes no config: that would be somebody else's machine with our disk in it.
    fn wait_for_a_passphrase(&mut self, now: Millis) {
        let mut lines: Vec<String> = self.storage.locked.iter().map(|locked| locked.reason.clone()).collect();
        let remedy = if self.storage.locked.iter().any(|locked| locked.closed) {
            "the node waits for rkctl node unlock, or for a restart that measures as before"
        } else {
            "the node waits for another config"
        };
        lines.push(remedy.to_owned());
        if lines != self.look.said {
            for line in &lines {
                self.journal.say(line);
            }
            self.look.said = lines;
        }
        self.open_for_maintenance(now);
    }

    /// Tries the passphrase that the machine API was given.
    pub(crate) fn unlock(&mut self, now: Millis) -> Result<(), String> {
        let passphrase = fs::read_to_string(PASSPHRASE);
        let _ = fs::remove_file(PASSPHRASE);
        let passphrase = passphrase.map_err(|err| format!("{PASSPHRASE}: {err}"))?;
        if self.storage.locked.is_empty() {
            return Err("nothing is locked".to_owned());
        }
        let _fed = self.watchdog.feed_meanwhile(&mut self.journal);
        // The log lies where the disk is mounted over.
        self.journal.close();
        self.storage.mount(&mut self.journal, &self.settings.cmdline, Some(&passphrase));
        self.journal.open(&self.settings.log_dir);
        if !self.storage.locked.is_empty() {
            return Err(self.storage.words());
        }
        let slots = self.slots.as_ref();
        self.settings.machine_id = boot::settle(&mut self.journal, &mut self.storage, &self.settings.cmdline, slots);
        self.look.at = now;
        Ok(())
    }

    /// Network by DHCP and the machine API for anyone: how a node without a config is given one.
    fn open_for_maintenance(&mut self, now: Millis) {
        if self.supervisor.state(services::MACHINE).is_some() || self.settings.no_maintenance {
            return;
        }
        // netd reads the accepted config; a default one asks by DHCP on every card.
        if let Err(err) = rk_config::save_accepted(&MachineConfig::default(), ACCEPTED_PATH) {
            return self.journal.failed("saving the config of maintenance", &err);
        }
        for service in services::maintenance() {
            self.handle(now, Event::Enable(service));
        }
    }

    /// Takes a config and starts, restarts and stops what that asks for.
    fn change(&mut self, now: Millis, source: &str, config: Box<MachineConfig>) -> Result<(), String> {
        // Services would not know their config: stay as it is.
        rk_config::save_accepted(&config, ACCEPTED_PATH).map_err(|err| crate::console::chain(&err))?;
        let before = self.config.take();
        let id = self.settings.machine_id.get(..8).unwrap_or("node");
        let hostname = config.hostname.clone().unwrap_or_else(|| format!("rk-{id}"));
        etc::name_machine(&mut self.journal, &hostname);
        control_plane::place(&mut self.journal, &config);
        storage::compare(&mut self.journal, &config.disks.encryption);
        if before.is_none() {
            swap::on(&mut self.journal, config.disks.swap_mib, self.storage.has_disk());
        }
        self.journal.say(format_args!("config accepted from {source}: {hostname}, {:?}", config.role));
        let restart = services::affected(before.as_deref(), &config);
        let wanted = services::wanted(&config);
        self.source = source.to_owned();
        self.config = Some(config);
        for name in self.supervisor.names() {
            let kept = wanted.iter().any(|service| service.name == name);
            match (kept, restart.contains(&name)) {
                (false, _) => self.handle(now, Event::Stop { name }),
                (true, true) => self.handle(now, Event::Restart { name }),
                (true, false) => {}
            }
        }
        for service in wanted {
            self.handle(now, Event::Enable(service));
        }
        Ok(())
    }

    pub(crate) fn apply_offered(&mut self, now: Millis) -> Result<(), String> {
        let config = offered()?;
        keep(&config)?;
        self.trial = None;
        // A first config may ask for a disk that holds nothing of worth yet; a later one takes a reset.
        if self.config.is_none() && storage::order(&config.disks.encryption)? {
            self.begin_end(End::Reboot, "its first config, which asks for encrypted disks");
            return Ok(());
        }
        self.change(now, "the machine API", config)
    }

    pub(crate) fn stage_offered(&mut self) -> Result<(), String> {
        keep(&*offered()?)?;
        self.journal.say("a config is kept for the next start");
        Ok(())
    }

    pub(crate) fn try_offered(&mut self, now: Millis, seconds: u32) -> Result<(), String> {
        let config = offered()?;
        let (before, source) = match (self.trial.take(), &self.config) {
            // A second trial goes back to what was before the first.
            (Some(trial), _) => (trial.before, trial.source),
            (None, Some(config)) => (config.clone(), self.source.clone()),
            (None, None) => return Err("the node has no config that it could go back to".to_owned()),
        };
        self.trial = Some(Trial { until: now + u64::from(seconds) * 1000, before, source });
        self.journal.say(format_args!("a config is on trial for {seconds} s"));
        self.change(now, "the machine API, on trial", config)
    }

    pub(crate) fn confirm_trial(&mut self) -> Result<(), String> {
        let (Some(_), Some(config)) = (&self.trial, &self.config) else {
            return Err("no config is on trial; it may have been taken back already".to_owned());
        };
        keep(config)?;
        self.trial = None;
        self.source = "the machine API".to_owned();
        self.journal.say("the config on trial is kept");
        Ok(())
    }

    /// A config that the network brought: not kept, for its place is asked again at the next start.
    pub(crate) fn take_offer(&mut self, now: Millis, source: &str) -> Result<(), String> {
        if !self.in_maintenance() {
            return Err("the node has a config already".to_owned());
        }
        self.change(now, source, offered()?)
    }

    /// Takes back a config whose trial is over.
    pub(crate) fn end_trial(&mut self, now: Millis) {
        let over = self.trial.as_ref().is_some_and(|trial| trial.until <= now);
        if let Some(trial) = self.trial.take_if(|_| over) {
            self.journal.say("the config on trial was not confirmed and is taken back");
            if let Err(reason) = self.change(now, &trial.source, trial.before) {
                self.journal.say(reason);
            }
        }
    }

    /// Whether what is encrypted opens by the config alone.
    pub(crate) fn has_passphrase(&self) -> bool {
        self.config.as_ref().is_some_and(|config| config.disks.encryption.passphrase.is_some())
    }

    /// When the trial ends.
    pub(crate) fn trial_end(&self) -> Option<Millis> {
        self.trial.as_ref().map(|trial| trial.until)
    }

    /// Seconds until then; 0 without a trial.
    pub(crate) fn trial_left(&self, now: Millis) -> u32 {
        let left = self.trial_end().map_or(0, |until| until.saturating_sub(now).div_ceil(1000));
        u32::try_from(left).unwrap_or(u32::MAX)
    }
}

/// Reads what the machine API offers; its parser has checked it already, and this one checks it again.
pub(crate) fn offered() -> Result<Box<MachineConfig>, String> {
    let mut text = String::new();
    let read =
        File::open(OFFERED_PATH).and_then(|file| file.take(MAX_CONFIG_BYTES as u64 + 1).read_to_string(&mut text));
    read.map_err(|err| format!("{OFFERED_PATH}: {err}"))?;
    let _ = fs::remove_file(OFFERED_PATH);
    let Parsed { config, .. } = rk_config::parse(&text).map_err(|err| err.to_string())?;
    Ok(Box::new(config))
}

/// Writes a config to where it outlives the machine's restart.
fn keep(config: &MachineConfig) -> Result<(), String> {
    let yaml = rk_config::to_yaml(config).map_err(|err| err.to_string())?;
    let path = discover::kept_path();
    services::write_new(&path, &yaml, 0o600).map_err(|err| format!("writing {}: {err}", path.display()))
}
