//! The objects of one kind, by key and by named indexes.

use rk_watch::{Object, ObjectKey};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

/// Answers the index values of an object.
pub(crate) type IndexFn<K> = fn(&K) -> Vec<String>;

struct Index<K> {
    values: IndexFn<K>,
    keys: HashMap<String, BTreeSet<ObjectKey>>,
}

pub(crate) struct Cache<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    indexes: HashMap<&'static str, Index<K>>,
    /// Uids of objects that this process deleted while the watch has not told so yet.
    buried: HashSet<String>,
}

/// The revision of an object as a number; 0 when it has none.
pub(crate) fn revision<K: Object>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}

impl<K: Object> Cache<K> {
    pub(crate) fn new() -> Self {
        Self { objects: BTreeMap::new(), indexes: HashMap::new(), buried: HashSet::new() }
    }

    pub(crate) fn add_index(&mut self, name: &'static str, values: IndexFn<K>) {
        if self.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { values, keys: HashMap::new() };
        for (key, object) in &self.objects {
            for value in values(object) {
                index.keys.entry(value).or_default().insert(key.clone());
            }
        }
        self.indexes.insert(name, index);
    }

    pub(crate) fn get(&self, key: &ObjectKey) -> Option<&Arc<K>> {
        self.objects.get(key)
    }

    /// Stores an object; answers the one that it replaces.
    pub(crate) fn insert(&mut self, key: ObjectKey, object: Arc<K>) -> Option<Arc<K>> {
        let old = self.objects.insert(key.clone(), Arc::clone(&object));
        for index in self.indexes.values_mut() {
            let new_values = (index.values)(&object);
            if let Some(old) = &old {
                let old_values = (index.values)(old);
                if old_values == new_values {
                    continue;
                }
                index.drop_key(&old_values, &key);
            }
            for value in new_values {
                index.keys.entry(value).or_default().insert(key.clone());
            }
        }
        old
    }

    pub(crate) fn remove(&mut self, key: &ObjectKey) -> Option<Arc<K>> {
        let old = self.objects.remove(key)?;
        for index in self.indexes.values_mut() {
            let values = (index.values)(&old);
            index.drop_key(&values, key);
        }
        Some(old)
    }

    pub(crate) fn bury(&mut self, uid: Option<&str>) {
        self.buried.extend(uid.map(str::to_owned));
    }

    pub(crate) fn is_buried(&self, uid: Option<&str>) -> bool {
        uid.is_some_and(|uid| self.buried.contains(uid))
    }

    pub(crate) fn unbury(&mut self, uid: Option<&str>) {
        if let Some(uid) = uid {
            self.buried.remove(uid);
        }
    }

    /// Forgets the deletions of what a list does not name any more: no watch will tell of them.
    pub(crate) fn keep_buried(&mut self, is_listed: impl Fn(&str) -> bool) {
        self.buried.retain(|uid| is_listed(uid));
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.objects.keys()
    }

    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.objects.values().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let start = Bound::Included(ObjectKey::new(namespace, ""));
        self.objects
            .range((start, Bound::Unbounded))
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    /// Objects whose index `name` holds `value`; empty when there is no such index.
    pub(crate) fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let Some(keys) = self.indexes.get(name).and_then(|index| index.keys.get(value)) else { return Vec::new() };
        keys.iter().filter_map(|key| self.objects.get(key).cloned()).collect()
    }
}

impl<K> Index<K> {
    fn drop_key(&mut self, values: &[String], key: &ObjectKey) {
        for value in values {
            if let Some(keys) = self.keys.get_mut(value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(value);
                }
            }
        }
    }
}
