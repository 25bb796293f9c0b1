//! What the claims of one pod ask for, read once for all nodes.

use std::collections::BTreeMap;

use k8s_openapi::api::resource::v1::{
    Device, DeviceClass, DeviceConstraint, DeviceRequest, DeviceSelector, DeviceTaint, DeviceToleration, ResourceClaim,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use rk_client::{ObjectKey, tolerates_device};

use super::Devices;
use super::selector::Selector;

/// How many devices are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Exactly(usize),
    /// All that the selectors mean.
    All,
}

/// A request, or one of its alternatives.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) request: &'a str,
    pub(super) alternative: Option<&'a str>,
    pub(super) class: &'a DeviceClass,
    pub(super) class_selectors: Vec<Selector>,
    pub(super) selectors: Vec<Selector>,
    pub(super) tolerations: &'a [DeviceToleration],
    pub(super) capacity: Option<&'a BTreeMap<String, Quantity>>,
    pub(super) count: Count,
    /// Whether devices are looked after rather than used: whoever has them.
    pub(super) admin: bool,
}

impl Ask<'_> {
    /// The request's own name, or that of the alternative.
    pub(super) fn name(&self) -> &str {
        self.alternative.unwrap_or(self.request)
    }

    /// `request`, or `request/alternative`.
    pub(super) fn full_name(&self) -> String {
        match self.alternative {
            Some(own) => format!("{}/{own}", self.request),
            None => self.request.to_owned(),
        }
    }

    /// Whether one of the names that a constraint or a configuration gives means this request.
    pub(super) fn is_named(&self, names: &[String]) -> bool {
        let full = self.full_name();
        names.iter().any(|name| name == self.request || *name == full)
    }

    /// Whether all taints of a device that keep pods off are tolerated (KEP-5055).
    pub(super) fn tolerates(&self, device: &Device) -> bool {
        let strict = |taint: &&DeviceTaint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
        let mut taints = device.taints.iter().flatten().filter(strict);
        taints.all(|taint| self.tolerations.iter().any(|toleration| tolerates_device(toleration, taint)))
    }
}

/// A request: what is asked for, or alternatives in the order in which they are wished for.
pub(super) type Demand<'a> = Vec<Ask<'a>>;

/// A claim that has no devices yet.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) claim: &'a ResourceClaim,
    /// Namespace and name, as messages tell them.
    pub(super) name: String,
    pub(super) demands: Vec<Demand<'a>>,
    pub(super) constraints: &'a [DeviceConstraint],
}

/// What a pod's claims ask for together.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(super) devices: &'a Devices,
    pub(super) claims: Vec<Wanted<'a>>,
}

impl<'a> Plan<'a> {
    /// Reads claims that have no devices yet.
    ///
    /// # Errors
    /// Why they can be had nowhere, in upstream's words.
    pub(crate) fn new(devices: &'a Devices, claims: &[&'a ResourceClaim]) -> Result<Self, String> {
        let claims = claims.iter().map(|claim| wanted(devices, claim)).collect::<Result<_, _>>()?;
        Ok(Self { devices, claims })
    }
}

fn wanted<'a>(devices: &'a Devices, claim: &'a ResourceClaim) -> Result<Wanted<'a>, String> {
    let name = ObjectKey::of(claim).to_string();
    let spec = claim.spec.devices.as_ref();
    let requests = spec.and_then(|spec| spec.requests.as_deref()).unwrap_or_default();
    let demands = requests.iter().map(|request| demand(devices, &name, request)).collect::<Result<_, _>>()?;
    let constraints = spec.and_then(|spec| spec.constraints.as_deref()).unwrap_or_default();
    let unknown = constraints.iter().position(|own| own.match_attribute.is_none() && own.distinct_attribute.is_none());
    if let Some(index) = unknown {
        return Err(format!("claim {name}, constraint #{index}: empty constraint (unsupported constraint type?)"));
    }
    Ok(Wanted { claim, name, demands, constraints })
}

fn demand<'a>(devices: &'a Devices, claim: &str, request: &'a DeviceRequest) -> Result<Demand<'a>, String> {
    if let Some(own) = &request.exactly {
        let part = Part {
            class: &own.device_class_name,
            mode: own.allocation_mode.as_deref(),
            count: own.count,
            capacity: own.capacity.as_ref().and_then(|capacity| capacity.requests.as_ref()),
            tolerations: own.tolerations.as_deref(),
            selectors: own.selectors.as_ref(),
            admin: own.admin_access == Some(true),
        };
        return Ok(vec![part.read(devices, claim, &request.name, None)?]);
    }
    let alternatives = request.first_available.iter().flatten();
    let asks: Demand<'a> = alternatives
        .map(|own| {
            let part = Part {
                class: &own.device_class_name,
                mode: own.allocation_mode.as_deref(),
                count: own.count,
                capacity: own.capacity.as_ref().and_then(|capacity| capacity.requests.as_ref()),
                tolerations: own.tolerations.as_deref(),
                selectors: own.selectors.as_ref(),
                admin: false,
            };
            part.read(devices, claim, &request.name, Some(&own.name))
        })
        .collect::<Result<_, _>>()?;
    if asks.is_empty() {
        return Err(format!("resource claim {claim}, request {}: unknown request type", request.name));
    }
    Ok(asks)
}

/// What requests and their alternatives have in common, which are two types of the API.
struct Part<'a> {
    class: &'a str,
    mode: Option<&'a str>,
    count: Option<i64>,
    capacity: Option<&'a BTreeMap<String, Quantity>>,
    tolerations: Option<&'a [DeviceToleration]>,
    selectors: Option<&'a Vec<DeviceSelector>>,
    admin: bool,
}

impl<'a> Part<'a> {
    fn read(
        self,
        devices: &'a Devices,
        claim: &str,
        request: &'a str,
        alternative: Option<&'a str>,
    ) -> Result<Ask<'a>, String> {
        let name = alternative.map_or_else(|| request.to_owned(), |own| format!("{request}/{own}"));
        let Some(class) = devices.class(self.class) else {
            return Err(format!("request {name}: device class {} does not exist", self.class));
        };
        let count = match (self.mode.unwrap_or("ExactCount"), self.count.unwrap_or(1)) {
            ("All", _) => Count::All,
            ("ExactCount", count) => Count::Exactly(usize::try_from(count).unwrap_or(0)),
            (mode, _) => return Err(format!("claim {claim}, request {name}: unsupported count mode {mode}")),
        };
        let of_class = format!("class {}", self.class);
        Ok(Ask {
            request,
            alternative,
            class,
            class_selectors: Selector::all(class.spec.selectors.as_ref(), &of_class, &devices.programs)?,
            selectors: Selector::all(self.selectors, &format!("claim {claim}"), &devices.programs)?,
            tolerations: self.tolerations.unwrap_or_default(),
            capacity: self.capacity,
            count,
            admin: self.admin,
        })
    }
}
