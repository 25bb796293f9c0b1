//! One plugin of a DRA driver: which of the services it has, and the calls to it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rk_plugin_api::dra::v1 as api;
use rk_plugin_api::dra::v1::dra_plugin_client::DraPluginClient;
use rk_plugin_api::dra::v1beta1::dra_plugin_client::DraPluginClient as DraPluginClientBeta;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::meters::Meters;
use crate::plugins::{bounded, code, words};

/// Longest call; upstream's `defaultClientCallTimeout`.
const CALL: Duration = Duration::from_secs(45);

/// What both services are asked, which differ in nothing but their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// `v1`.
    V1,
    /// `v1beta1`.
    V1Beta1,
}

/// As a list of quoted texts is written in upstream's messages.
fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("{name:?}")).collect();
    format!("[{}]", names.join(" "))
}

impl Service {
    /// All of them, the newest first.
    const ALL: [Self; 2] = [Self::V1, Self::V1Beta1];

    /// As plugins name it among their supported versions.
    fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1.DRAPlugin",
            Self::V1Beta1 => "v1beta1.DRAPlugin",
        }
    }

    /// The newest one of those that a plugin has.
    ///
    /// # Errors
    /// None is known here, in upstream's words.
    pub(super) fn choose(supported: &[String]) -> Result<Self, String> {
        if supported.is_empty() {
            return Err("empty list of supported gRPC services (aka supported versions)".to_owned());
        }
        let found = Self::ALL.into_iter().find(|service| supported.iter().any(|name| name == service.name()));
        found.ok_or_else(|| {
            let (theirs, ours) =
                (quoted(supported.iter().map(String::as_str)), quoted(Self::ALL.map(Self::name).into_iter()));
            format!("none of services supported by the plugin ({theirs}) are supported by the kubelet ({ours})")
        })
    }

    /// A method as it is called, for who counts calls.
    fn method(self, name: &str) -> String {
        let version = if self == Self::V1 { "v1" } else { "v1beta1" };
        format!("/k8s.io.kubelet.pkg.apis.dra.{version}.DRAPlugin/{name}")
    }
}

/// A plugin that has registered.
#[derive(Clone)]
pub(super) struct Plugin {
    driver: String,
    endpoint: PathBuf,
    service: Service,
    channel: Channel,
    meters: Arc<Meters>,
}

impl Plugin {
    /// The plugin of a driver behind this socket.
    pub(super) fn new(driver: &str, endpoint: &Path, service: Service, meters: Arc<Meters>) -> Self {
        let channel = rk_cri_api::connect(endpoint);
        Self { driver: driver.to_owned(), endpoint: endpoint.to_owned(), service, channel, meters }
    }

    /// Its socket.
    pub(super) fn endpoint(&self) -> &Path {
        &self.endpoint
    }

    /// The connection for calls.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Has devices prepared for claims; answers by the claims' UIDs.
    pub(super) async fn prepare(
        &self,
        claims: Vec<api::Claim>,
    ) -> Result<HashMap<String, api::NodePrepareResourceResponse>, String> {
        let request = api::NodePrepareResourcesRequest { claims };
        let channel = self.channel();
        let call = async move {
            match self.service {
                Service::V1 => DraPluginClient::new(channel).node_prepare_resources(request).await,
                Service::V1Beta1 => DraPluginClientBeta::new(channel).node_prepare_resources(request).await,
            }
        };
        self.call("NodePrepareResources", call).await.map(|answer| answer.claims)
    }

    /// Has devices of claims taken back; answers by the claims' UIDs.
    pub(super) async fn unprepare(
        &self,
        claims: Vec<api::Claim>,
    ) -> Result<HashMap<String, api::NodeUnprepareResourceResponse>, String> {
        let request = api::NodeUnprepareResourcesRequest { claims };
        let channel = self.channel();
        let call = async move {
            match self.service {
                Service::V1 => DraPluginClient::new(channel).node_unprepare_resources(request).await,
                Service::V1Beta1 => DraPluginClientBeta::new(channel).node_unprepare_resources(request).await,
            }
        };
        self.call("NodeUnprepareResources", call).await.map(|answer| answer.claims)
    }

    async fn call<T>(&self, name: &str, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, String> {
        let begun = Instant::now();
        let answer = bounded(name, call, CALL).await;
        let code = code(answer.as_ref().err().map_or(Code::Ok, Status::code));
        let method = self.service.method(name);
        self.meters.claims.calls.observe(&[self.driver.as_str(), method.as_str(), code.as_str()], begun.elapsed());
        answer.map_err(|status| format!("{name}: {}", words(&status)))
    }
}

/// What the answers of a plugin say of the claims that it was asked for, each by its UID with why it failed, unless that is empty.
///
/// # Errors
/// Not every claim was done, in upstream's words.
pub(super) fn done<'a>(
    call: &str,
    asked: &[api::Claim],
    answers: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
) -> Result<(), String> {
    let unfinished = asked.len().saturating_sub(answers.len());
    for (uid, error) in answers {
        let Some(claim) = asked.iter().find(|claim| claim.uid == uid) else {
            return Err(format!("{call} returned result for unknown claim UID {uid}"));
        };
        if !error.is_empty() {
            return Err(format!("{call} failed for ResourceClaim {}: {error}", claim.name));
        }
    }
    if unfinished > 0 { Err(format!("{call} skipped {unfinished} ResourceClaims")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_service_that_both_know_is_spoken() {
        let of = |names: &[&str]| Service::choose(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["v1beta1.DRAPlugin", "v1.DRAPlugin", "v1alpha1.DRAResourceHealth"]), Ok(Service::V1));
        assert_eq!(of(&["v1alpha4.Node", "v1beta1.DRAPlugin"]), Ok(Service::V1Beta1));
        assert_eq!(of(&[]), Err("empty list of supported gRPC services (aka supported versions)".to_owned()));
        let unknown = "none of services supported by the plugin ([\"1.0.0\" \"v2.DRAPlugin\"]) are supported by the kubelet \
                       ([\"v1.DRAPlugin\" \"v1beta1.DRAPlugin\"])";
        assert_eq!(of(&["1.0.0", "v2.DRAPlugin"]), Err(unknown.to_owned()));
        assert_eq!(Service::V1.method("M"), "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/M");
    }

    #[test]
    fn every_claim_has_to_be_answered_and_none_may_have_failed() {
        let claim = |uid: &str| api::Claim { uid: uid.to_owned(), name: format!("of-{uid}"), ..Default::default() };
        let asked = [claim("1"), claim("2")];
        for (answers, want) in [
            (vec![("1", ""), ("2", "")], Ok(())),
            (vec![("1", "")], Err("M skipped 1 ResourceClaims")),
            (vec![("1", ""), ("2", "no power")], Err("M failed for ResourceClaim of-2: no power")),
            (vec![("1", ""), ("3", "")], Err("M returned result for unknown claim UID 3")),
        ] {
            assert_eq!(done("M", &asked, answers.into_iter()), want.map_err(str::to_owned));
        }
    }

    #[tokio::test]
    async fn calls_are_counted_by_driver_method_and_outcome() {
        let meters = Arc::<Meters>::default();
        let plugin = Plugin::new("d.example", Path::new("/nowhere"), Service::V1Beta1, meters.clone());
        let problem = plugin.prepare(Vec::new()).await.unwrap_err();
        assert!(problem.starts_with("NodePrepareResources: rpc error: code = Unavailable"), "{problem}");
        let method = "/k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin/NodePrepareResources";
        let key = ["d.example", method, "Unavailable"].map(str::to_owned).to_vec();
        assert_eq!(meters.claims.calls.read().get(&key).map(|spread| spread.count), Some(1));
    }
}
