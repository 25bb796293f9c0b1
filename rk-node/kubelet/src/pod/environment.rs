//! What the variables of a container come from: objects of the API, Services, fields of the pod, files in its volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use super::spec;
use super::start::Launch;
use crate::events::PodRef;
use crate::static_pods::is_static;
use crate::translate::{EnvFile, EnvSources, Environment, environment, references, service_environment};
use crate::volumes::read_beneath;

/// How old ConfigMaps and Secrets of an environment may be: a fresh pod sees fresh values.
const FRESH: Duration = Duration::ZERO;
/// The longest file of variables, bytes.
const LONGEST_FILE: u64 = 64 * 1024;

impl Launch<'_> {
    /// The variables of a container; what they come from is read now.
    pub(super) async fn environment(&self, container: &Container) -> Result<Environment, String> {
        let refs = references(container);
        let objects = self.context.volumes.objects();
        let namespace = spec::namespace(self.pod);
        let (mut config_maps, mut secrets) = (BTreeMap::new(), BTreeMap::new());
        for name in refs.config_maps {
            if let Some(map) =
                objects.config_map(namespace, &name, FRESH).await.map_err(|e| crate::api_error::text(&e))?
            {
                config_maps.insert(name, Arc::unwrap_or_clone(map));
            }
        }
        for name in refs.secrets {
            if let Some(secret) =
                objects.secret(namespace, &name, FRESH).await.map_err(|e| crate::api_error::text(&e))?
            {
                secrets.insert(name, Arc::unwrap_or_clone(secret));
            }
        }
        let links = self.pod.spec.as_ref().and_then(|s| s.enable_service_links).unwrap_or(true);
        // A static pod may be what makes the API server reachable: it waits for nothing.
        let services = match is_static(self.pod) {
            true => self.context.services.known(),
            false => self.context.services.get().await,
        };
        let services = service_environment(&services, namespace, links);
        let fields = self.context.fields(self.pod_ips());
        let files = self.files(refs.files)?;
        let sources = EnvSources {
            pod: self.pod,
            fields: &fields,
            services,
            config_maps: &config_maps,
            secrets: &secrets,
            files: &files,
        };
        let built = environment(container, sources).map_err(|e| e.to_string())?;
        for told in &built.skipped {
            let about = PodRef::of(self.pod);
            self.context.recorder.warning(&about, "InvalidEnvironmentVariableNames", told.clone());
        }
        Ok(built)
    }

    /// Files of variables that are there.
    fn files(&self, wanted: BTreeSet<EnvFile>) -> Result<BTreeMap<EnvFile, String>, String> {
        let mut files = BTreeMap::new();
        for (volume, path) in wanted {
            let root = self.volumes.paths.get(&volume).ok_or_else(|| format!("volume {volume:?} is not mounted"))?;
            let text = read_beneath(root, &path, LONGEST_FILE);
            let text = text.map_err(|why| format!("environment file {path:?} of volume {volume:?}: {why}"))?;
            files.extend(text.map(|text| ((volume, path), text)));
        }
        Ok(files)
    }
}
