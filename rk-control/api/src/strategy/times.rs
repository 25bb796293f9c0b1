//! Times that are defaults: the server's clock where a client tells none.

use serde_json::{Value, json};

use crate::meta::format_time;
use crate::resources::Resource;

/// ResourceSlice: a taint of a device that does not say since when it is there is there since `now`. (Other defaults know no clock.)
pub fn fill_times(resource: &Resource, object: &mut Value, now: jiff::Timestamp) {
    if (&*resource.gvk.group, &*resource.gvk.kind) != ("resource.k8s.io", "ResourceSlice") {
        return;
    }
    let now = format_time(now);
    let devices = object.get_mut("spec").and_then(|spec| spec.get_mut("devices")).and_then(Value::as_array_mut);
    for device in devices.into_iter().flatten() {
        let taints = device.get_mut("taints").and_then(Value::as_array_mut);
        for taint in taints.into_iter().flatten().filter_map(Value::as_object_mut) {
            let time = taint.entry("timeAdded").or_insert(Value::Null);
            if time.is_null() {
                *time = json!(now);
            }
        }
    }
}
