//! The service's methods, in the order of its definition.

use super::{Api, peer};
use crate::disks::{self, ProgressStream};
use crate::drain::{self, Deed};
use crate::facts::{self, clock, cpu, line, links, memory, mounts, processes, sockets};
use crate::images;
use crate::log;
use crate::node::{self, Events};
use crate::pulls::{self, Pulls};
use crate::streams::{Bytes, capture, kmsg, logs, whole_file};
use rk_machine_proto::{Machine, v1};
use rk_slots::Layout;
use rk_supervise::control;
use std::path::Path;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};
use v1::Empty;

type Answer<T> = Result<Response<T>, Status>;

/// Longest passphrase.
const MOST_PASSPHRASE: usize = 512;
/// Largest file that is read.
const MOST_FILE: u64 = 256 << 20;

fn answer<T>(message: T) -> Answer<T> {
    Ok(Response::new(message))
}

fn done() -> Answer<Empty> {
    answer(Empty {})
}

#[tonic::async_trait]
impl Machine for Api {
    type LogsStream = Bytes;
    type DmesgStream = Bytes;
    type CaptureStream = Bytes;
    type ReadFileStream = Bytes;
    type EventsStream = Events;
    type SnapshotStoreStream = Bytes;
    type InstallStream = ProgressStream;
    type UpgradeStream = ProgressStream;
    type RebootStream = ProgressStream;
    type ShutdownStream = ProgressStream;
    type RollbackStream = ProgressStream;
    type ImportImagesStream = ProgressStream;
    type PullsStream = Pulls;

    async fn version(&self, _: Request<Empty>) -> Answer<v1::VersionReply> {
        answer(v1::VersionReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: line("/proc/sys/kernel/osrelease"),
            architecture: std::env::consts::ARCH.to_owned(),
            mode: if self.inner.maintenance { "maintenance" } else { "running" }.to_owned(),
            hostname: line("/proc/sys/kernel/hostname"),
            machine_id: line("/etc/machine-id"),
        })
    }

    async fn health(&self, _: Request<Empty>) -> Answer<v1::HealthReply> {
        let config = self.config().ok().flatten();
        let api = config.as_ref().and_then(|config| config.machine_api.as_ref());
        let status = self.inner.pid1.status().await?;
        // A machine that runs from memory has no slots, and says so.
        let slots = self.inner.pid1.ask(&control::Request::Slots).await.ok();
        let layout = slots.as_deref().and_then(Layout::decode);
        answer(node::check(&status, api, layout.as_ref()).await)
    }

    async fn get_config(&self, request: Request<Empty>) -> Answer<v1::ConfigReply> {
        let config = self.present_config()?;
        let status = self.inner.pid1.status().await?;
        let failed = |err: String| Status::internal(err);
        let text = if peer(&request).is_admin() {
            rk_config::to_yaml(&config).map_err(|err| failed(err.to_string()))?
        } else {
            serde_yaml_ng::to_string(&rk_config::redacted(&config)).map_err(|err| failed(err.to_string()))?
        };
        answer(v1::ConfigReply { config: text, source: status.source, reverts_in_seconds: status.reverts_in })
    }

    async fn apply_config(&self, request: Request<v1::ApplyRequest>) -> Answer<v1::ApplyReply> {
        let who = peer(&request);
        let v1::ApplyRequest { config, mode, try_seconds } = request.into_inner();
        self.apply(who.name(), &config, mode, try_seconds).await
    }

    async fn patch_config(&self, request: Request<v1::PatchRequest>) -> Answer<v1::ApplyReply> {
        let who = peer(&request);
        let v1::PatchRequest { patch, mode, try_seconds } = request.into_inner();
        let config = node::patched(&self.present_config()?, &patch)?;
        self.apply(who.name(), &config, mode, try_seconds).await
    }

    async fn confirm_config(&self, _: Request<Empty>) -> Answer<Empty> {
        self.tell(control::Request::Confirm).await
    }

    async fn validate_config(&self, request: Request<v1::ValidateRequest>) -> Answer<v1::ValidateReply> {
        answer(node::validate(&request.into_inner().config))
    }

    async fn list_services(&self, _: Request<Empty>) -> Answer<v1::ServicesReply> {
        let status = self.inner.pid1.status().await?;
        let services = status.services.into_iter().map(|service| v1::Service {
            name: service.name,
            state: service.state,
            pid: service.pid,
            uptime_seconds: service.uptime_millis / 1000,
            starts: service.starts,
            last_exit: service.last_exit,
        });
        answer(v1::ServicesReply { services: services.collect() })
    }

    async fn restart_service(&self, request: Request<v1::ServiceRequest>) -> Answer<Empty> {
        log::info(format_args!("{} restarts {:?}", peer(&request).name(), request.get_ref().name));
        let wanted = control::Request::Restart(request.into_inner().name);
        if control::Request::parse(wanted.to_string().as_bytes()).as_ref() != Some(&wanted) {
            return Err(Status::invalid_argument(
                "there is no service of this name; list them with rkctl node services",
            ));
        }
        self.tell(wanted).await
    }

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Answer<Bytes> {
        let v1::LogsRequest { source, follow, tail } = request.into_inner();
        answer(logs::stream(logs::find(&self.inner.logs, &source)?, tail, follow)?)
    }

    async fn dmesg(&self, request: Request<v1::DmesgRequest>) -> Answer<Bytes> {
        let v1::DmesgRequest { follow, tail } = request.into_inner();
        answer(kmsg::stream(tail, follow)?)
    }

    async fn processes(&self, _: Request<Empty>) -> Answer<v1::ProcessesReply> {
        answer(v1::ProcessesReply { processes: processes::read() })
    }

    async fn mounts(&self, _: Request<Empty>) -> Answer<v1::MountsReply> {
        answer(v1::MountsReply { mounts: mounts::read() })
    }

    async fn disks(&self, _: Request<Empty>) -> Answer<v1::DisksReply> {
        answer(v1::DisksReply { disks: facts::disks::read() })
    }

    async fn memory(&self, _: Request<Empty>) -> Answer<v1::MemoryReply> {
        answer(memory::read())
    }

    async fn cpu(&self, _: Request<Empty>) -> Answer<v1::CpuReply> {
        answer(cpu::read())
    }

    async fn sockets(&self, request: Request<v1::SocketsRequest>) -> Answer<v1::SocketsReply> {
        answer(v1::SocketsReply { sockets: sockets::read(request.into_inner().listening_only) })
    }

    async fn interfaces(&self, _: Request<Empty>) -> Answer<v1::InterfacesReply> {
        answer(v1::InterfacesReply { interfaces: links::interfaces()? })
    }

    async fn routes(&self, _: Request<Empty>) -> Answer<v1::RoutesReply> {
        answer(v1::RoutesReply { routes: links::routes()? })
    }

    async fn capture(&self, request: Request<v1::CaptureRequest>) -> Answer<Bytes> {
        log::info(format_args!("{} captures packets of {:?}", peer(&request).name(), request.get_ref().interface));
        answer(capture::stream(&request.into_inner(), self.inner.port)?)
    }

    async fn read_file(&self, request: Request<v1::PathRequest>) -> Answer<Bytes> {
        let who = peer(&request);
        let path = request.into_inner().path;
        let file = crate::files::open(&path)?;
        log::info(format_args!("{} reads {path:?}", who.name()));
        answer(whole_file(file, MOST_FILE))
    }

    async fn list_directory(&self, request: Request<v1::PathRequest>) -> Answer<v1::DirectoryReply> {
        answer(crate::files::list(&request.into_inner().path)?)
    }

    async fn events(&self, request: Request<v1::EventsRequest>) -> Answer<Events> {
        answer(node::events(self.inner.pid1.clone(), request.into_inner().follow))
    }

    async fn time(&self, _: Request<Empty>) -> Answer<v1::TimeReply> {
        answer(clock::read())
    }

    async fn list_certificates(&self, _: Request<Empty>) -> Answer<v1::CertificatesReply> {
        let config = self.config()?;
        let api = config.as_ref().and_then(|config| config.machine_api.as_ref());
        answer(v1::CertificatesReply { certificates: node::certificates(api) })
    }

    async fn request_certificate(&self, _: Request<Empty>) -> Answer<v1::CertificateRequestReply> {
        let hostname = line("/proc/sys/kernel/hostname");
        let request = self.inner.rotation.request(&hostname, &links::own_addresses());
        answer(v1::CertificateRequestReply { request: request.map_err(|err| Status::internal(log::chain(&err)))? })
    }

    async fn install_certificate(&self, request: Request<v1::InstallCertificateRequest>) -> Answer<Empty> {
        let who = peer(&request);
        let certificate = request.into_inner().certificate;
        let mut config = self.present_config()?;
        let Some(api) = &mut config.machine_api else {
            return Err(Status::failed_precondition("the config has no section machineApi"));
        };
        let accepted = self.inner.rotation.accept(&certificate, &api.ca);
        let (identity, key) = accepted.map_err(|err| Status::invalid_argument(log::chain(&err)))?;
        api.identity = rk_config::Identity { certificate, key };
        let yaml = rk_config::to_yaml(&config).map_err(|err| Status::internal(err.to_string()))?;
        self.apply(who.name(), &yaml, v1::ApplyMode::NoReboot.into(), 0).await?;
        self.inner.resolver.replace(&identity).map_err(|err| Status::internal(log::chain(&err)))?;
        self.inner.rotation.done();
        done()
    }

    async fn kubeconfig(&self, request: Request<Empty>) -> Answer<v1::KubeconfigReply> {
        log::info(format_args!("{} takes the admin's kubeconfig", peer(&request).name()));
        let endpoint = self.config()?.and_then(|config| config.cluster.endpoint);
        answer(v1::KubeconfigReply { kubeconfig: node::kubeconfig(endpoint.as_deref())? })
    }

    async fn snapshot_store(&self, _: Request<Empty>) -> Answer<Bytes> {
        node::keeps_its_state(self.config()?.as_ref())?;
        answer(node::snapshot().await?)
    }

    async fn restore_store(&self, request: Request<Streaming<v1::Chunk>>) -> Answer<Empty> {
        log::warn(format_args!("{} restores the store", peer(&request).name()));
        node::keeps_its_state(self.config()?.as_ref())?;
        node::restore(&self.inner.pid1, request.into_inner()).await?;
        done()
    }

    async fn reboot(&self, request: Request<v1::RestartRequest>) -> Answer<ProgressStream> {
        self.restart(request, Deed::Reboot).await
    }

    async fn shutdown(&self, request: Request<v1::RestartRequest>) -> Answer<ProgressStream> {
        self.restart(request, Deed::PowerOff).await
    }

    async fn unlock(&self, request: Request<v1::UnlockRequest>) -> Answer<Empty> {
        log::warn(format_args!("{} gives a passphrase", peer(&request).name()));
        let passphrase = request.into_inner().passphrase;
        if !(1..=MOST_PASSPHRASE).contains(&passphrase.len()) {
            return Err(Status::invalid_argument("a passphrase has 1 to 512 characters"));
        }
        let path = Path::new(control::PASSPHRASE);
        let written = node::write_private(path, passphrase.as_bytes());
        written.map_err(|err| Status::internal(format!("{}: {err}", path.display())))?;
        self.tell(control::Request::Unlock).await
    }

    async fn reset(&self, request: Request<v1::ResetRequest>) -> Answer<Empty> {
        let v1::ResetRequest { state, data, all } = *request.get_ref();
        let words: Vec<&str> = [("all", all), ("state", state && !all), ("data", data && !all)]
            .into_iter()
            .filter(|w| w.1)
            .map(|w| w.0)
            .collect();
        if words.is_empty() {
            return Err(Status::invalid_argument("say what to erase: state, data or all"));
        }
        log::warn(format_args!("{} resets {}", peer(&request).name(), words.join(" ")));
        self.tell(control::Request::Reset(words.join(" "))).await
    }

    async fn install(&self, request: Request<Streaming<v1::InstallRequest>>) -> Answer<ProgressStream> {
        let turn = disks::Turn::take(&self.inner.disks)?;
        let (pid1, offered) = (Arc::clone(&self.inner.pid1), self.inner.offered.clone());
        answer(disks::install(pid1, turn, offered, self.config()?, request.into_inner()).await?)
    }

    async fn plan_install(&self, request: Request<v1::InstallRequest>) -> Answer<v1::InstallPlan> {
        answer(disks::plan(request.get_ref(), self.config()?.as_ref())?)
    }

    async fn upgrade(&self, request: Request<Streaming<v1::UpgradeRequest>>) -> Answer<ProgressStream> {
        log::warn(format_args!("{} upgrades", peer(&request).name()));
        let turn = disks::Turn::take(&self.inner.disks)?;
        let (pid1, config) = (Arc::clone(&self.inner.pid1), self.present_config()?);
        answer(disks::upgrade(pid1, turn, config, request.into_inner()).await?)
    }

    async fn rollback(&self, request: Request<v1::RestartRequest>) -> Answer<ProgressStream> {
        self.restart(request, Deed::RollBack).await
    }

    async fn import_images(&self, request: Request<Streaming<v1::ImportRequest>>) -> Answer<ProgressStream> {
        log::warn(format_args!("{} gives images", peer(&request).name()));
        answer(images::import(request.into_inner(), Path::new(rk_config::IMAGES_SOCKET)).await?)
    }

    async fn pulls(&self, request: Request<v1::PullsRequest>) -> Answer<Pulls> {
        answer(pulls::stream(Path::new(rk_config::PULLS_SOCKET), request.into_inner().follow))
    }
}

impl Api {
    async fn restart(&self, request: Request<v1::RestartRequest>, deed: Deed) -> Answer<ProgressStream> {
        log::warn(format_args!("{} asks: {deed:?}", peer(&request).name()));
        let _working = self.working();
        let seconds = request.get_ref().drain_seconds;
        // Nobody writes a slot that is about to be left, nor waits for a drain that an upgrade does by itself.
        let turn = (seconds > 0 || deed == Deed::RollBack).then(|| disks::Turn::take(&self.inner.disks)).transpose()?;
        answer(drain::restart(Arc::clone(&self.inner.pid1), self.config()?, deed, seconds, turn).await?)
    }

    async fn tell(&self, request: control::Request) -> Answer<Empty> {
        let _working = self.working();
        self.inner.pid1.ask(&request).await?;
        done()
    }

    async fn apply(&self, who: &str, config: &str, mode: i32, seconds: u32) -> Answer<v1::ApplyReply> {
        let mode = v1::ApplyMode::try_from(mode)
            .map_err(|_| Status::invalid_argument("the mode is unknown; rkctl may be newer than the node"))?;
        let _working = self.working();
        let before = self.config()?;
        let inner = &self.inner;
        let (reply, applied) = node::apply(&inner.pid1, &inner.offered, before.as_ref(), config, mode, seconds).await?;
        log::info(format_args!("config by {who}: {} changes, {applied:?}", reply.changes.len()));
        answer(reply)
    }
}
