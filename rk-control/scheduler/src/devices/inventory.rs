//! All that drivers publish, by pool and by node.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::resource::v1::ResourceSlice;

use super::pool::{Pool, PoolId};
use crate::model::NodeInfo;

/// Pools of devices. Slices are held where the informer holds them, once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inventory {
    members: BTreeMap<PoolId, BTreeMap<String, Arc<ResourceSlice>>>,
    pools: BTreeMap<PoolId, Pool>,
    by_slice: HashMap<String, PoolId>,
    by_node: HashMap<String, BTreeSet<PoolId>>,
    /// Pools with slices that are not of one node.
    wide: BTreeSet<PoolId>,
}

impl Inventory {
    /// Takes in a slice.
    pub(crate) fn set(&mut self, slice: &Arc<ResourceSlice>) {
        let name = slice.metadata.name.clone().unwrap_or_default();
        let id = PoolId::of(slice);
        if self.by_slice.get(&name).is_some_and(|known| *known != id) {
            self.remove(&name);
        }
        self.by_slice.insert(name.clone(), id.clone());
        self.members.entry(id.clone()).or_default().insert(name, Arc::clone(slice));
        self.settle(&id);
    }

    /// Forgets a slice.
    pub(crate) fn remove(&mut self, name: &str) {
        let Some(id) = self.by_slice.remove(name) else { return };
        if let Some(members) = self.members.get_mut(&id) {
            members.remove(name);
            if members.is_empty() {
                self.members.remove(&id);
            }
        }
        self.settle(&id);
    }

    /// Looks at a pool anew.
    fn settle(&mut self, id: &PoolId) {
        if let Some(old) = self.pools.remove(id) {
            self.unlink(&old);
        }
        let Some(members) = self.members.get(id) else { return };
        let pool = Pool::new(id.clone(), members.values());
        for home in pool.homes() {
            self.by_node.entry(home.clone()).or_default().insert(id.clone());
        }
        if pool.is_wide() {
            self.wide.insert(id.clone());
        }
        self.pools.insert(id.clone(), pool);
    }

    fn unlink(&mut self, pool: &Pool) {
        self.wide.remove(&pool.id);
        for home in pool.homes() {
            let Some(own) = self.by_node.get_mut(home) else { continue };
            own.remove(&pool.id);
            if own.is_empty() {
                self.by_node.remove(home);
            }
        }
    }

    /// The pools that a node reaches, in the order in which their devices are tried.
    pub(crate) fn pools_of<'a>(&'a self, node: &'a NodeInfo) -> Vec<&'a Pool> {
        let local = self.by_node.get(&node.name).into_iter().flatten();
        let ids: BTreeSet<&PoolId> = local.chain(&self.wide).collect();
        let known = ids.into_iter().filter_map(|id| self.pools.get(id));
        let mut pools: Vec<&Pool> = known.filter(|pool| pool.concerns(node)).collect();
        pools.sort_by_key(|pool| pool.prepared);
        pools
    }
}
