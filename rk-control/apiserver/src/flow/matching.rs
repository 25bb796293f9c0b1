//! Which FlowSchema a request matches, and to which priority level that leads.

use std::sync::{Arc, PoisonError, RwLock};

use http::{HeaderMap, HeaderValue};
use rk_api::meta;
use serde_json::Value;

use super::figures::{Executing, Flow};
use crate::authn::{SERVICE_ACCOUNT_PREFIX, User};
use crate::authz;
use crate::http::{RequestInfo, ResourcePath, lists};

/// Answers tell by it which schema the request matched.
const SCHEMA_UID: &str = "x-kubernetes-pf-flowschema-uid";
/// Answers tell by it to which level that schema leads.
const LEVEL_UID: &str = "x-kubernetes-pf-prioritylevel-uid";
/// Requests under way that upstream's server divides among its levels unless told otherwise.
const SEATS: u64 = 600;

/// The schemas and levels of now.
#[derive(Default)]
pub struct Flows(RwLock<Arc<Table>>);

impl Flows {
    /// Matches with these from now on; what was counted of a schema goes on while it leads to the same level.
    pub(super) fn publish(&self, mut table: Table) {
        let mut own = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for schema in &mut table.schemas {
            if let Some(known) = own.schemas.iter().find(|known| known.flow.is_named_as(&schema.flow)) {
                schema.flow = Arc::clone(&known.flow);
            }
        }
        *own = Arc::new(table);
    }

    fn now(&self) -> Arc<Table> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the request of a user matches first, which counts it as executed until dropped; nothing before the schemas are read for the
    /// first time.
    #[must_use]
    pub fn matched(&self, user: &User, info: &RequestInfo) -> Option<Matched> {
        let table = self.now();
        let found = table.schemas.iter().find(|own| own.means(user, info))?;
        let executing = Flow::begin(&found.flow, info.verb == "watch");
        Some(Matched { schema: found.uid.clone(), level: found.level.clone(), _executing: executing })
    }

    /// What each level is configured to have of the server's seats, and what was counted of each schema.
    pub fn render(&self, out: &mut String) {
        let table = self.now();
        super::figures::render(out, &table.seats, &table.flows());
    }

    /// The pages of `/debug/api_priority_and_fairness`; `None` for one that is not there.
    #[must_use]
    pub fn dump(&self, page: &str) -> Option<String> {
        let table = self.now();
        super::dump::page(page, &table.seats, &table.flows())
    }
}

/// What a request matched.
#[derive(Debug)]
pub struct Matched {
    schema: HeaderValue,
    level: HeaderValue,
    _executing: Executing,
}

impl Matched {
    /// Says so in an answer, with which the request is over.
    pub fn tell(self, headers: &mut HeaderMap) {
        headers.insert(SCHEMA_UID, self.schema);
        headers.insert(LEVEL_UID, self.level);
    }
}

/// The schemas that lead somewhere, in the order in which requests are held against them, and the seats of each level.
#[derive(Default)]
pub(super) struct Table {
    schemas: Vec<Schema>,
    seats: Vec<(String, u64)>,
}

impl Table {
    fn flows(&self) -> Vec<&Flow> {
        self.schemas.iter().map(|own| &*own.flow).collect()
    }

    pub(super) fn new(schemas: &[Value], levels: &[Value]) -> Self {
        let mut ordered: Vec<&Value> = schemas.iter().collect();
        ordered.sort_by_key(|own| (meta::at(own, &["spec", "matchingPrecedence"]).as_i64(), meta::name(own)));
        let total: u64 = levels.iter().map(shares).sum();
        let seats = |level: &Value| (meta::name(level).to_owned(), (SEATS * shares(level)).div_ceil(total.max(1)));
        Self {
            schemas: ordered.into_iter().filter_map(|own| Schema::new(own, levels)).collect(),
            seats: levels.iter().map(seats).collect(),
        }
    }
}

/// What a level asks for of the whole.
fn shares(level: &Value) -> u64 {
    let of = |kind| meta::at(level, &["spec", kind, "nominalConcurrencyShares"]).as_u64();
    ["limited", "exempt"].into_iter().find_map(of).unwrap_or_default()
}

struct Schema {
    rules: Vec<Rule>,
    uid: HeaderValue,
    /// The level's UID.
    level: HeaderValue,
    flow: Arc<Flow>,
}

impl Schema {
    fn new(schema: &Value, levels: &[Value]) -> Option<Self> {
        let wanted = meta::text(schema, &["spec", "priorityLevelConfiguration", "name"]);
        let level = levels.iter().find(|own| meta::name(own) == wanted)?;
        let uid = |own: &Value| HeaderValue::from_str(meta::text(own, &["metadata", "uid"])).ok();
        let rules = each(schema, &["spec", "rules"]).map(Rule::parse).collect();
        let flow = Arc::new(Flow::new(meta::name(schema), wanted));
        Some(Self { rules, uid: uid(schema)?, level: uid(level)?, flow })
    }

    fn means(&self, user: &User, info: &RequestInfo) -> bool {
        self.rules.iter().any(|rule| rule.means(user, info))
    }
}

/// The elements of a list; none where there is none.
fn each<'a>(object: &'a Value, path: &[&str]) -> impl Iterator<Item = &'a Value> + use<'a> {
    meta::at(object, path).as_array().into_iter().flatten()
}

/// Whose requests for what are meant.
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<Resources>,
    paths: Vec<authz::Rule>,
}

impl Rule {
    fn parse(rule: &Value) -> Self {
        Self {
            subjects: each(rule, &["subjects"]).filter_map(Subject::parse).collect(),
            resources: each(rule, &["resourceRules"]).map(Resources::parse).collect(),
            paths: each(rule, &["nonResourceRules"]).map(authz::Rule::parse).collect(),
        }
    }

    fn means(&self, user: &User, info: &RequestInfo) -> bool {
        let names_path = |own: &authz::Rule| own.urls.iter().any(|url| leads_to(url, &info.path));
        self.subjects.iter().any(|own| own.is(user))
            && match &info.resource {
                Some(path) => self.resources.iter().any(|own| own.mean(&info.verb, path)),
                None => self.paths.iter().any(|own| lists(&own.verbs, &info.verb) && names_path(own)),
            }
    }
}

/// Whether a path is the one of a rule, or below it: unlike roles, schemas mean with a path all that is under it.
fn leads_to(rule: &str, path: &str) -> bool {
    let start = rule.strip_suffix('*').unwrap_or(rule);
    let below = path.strip_prefix(start.strip_suffix('/').unwrap_or(start));
    rule == "*" || rule == path || below.is_some_and(|below| below.starts_with('/'))
}

/// Who asks, by name; `*` is everybody of the kind.
enum Subject {
    User(String),
    Group(String),
    Account { namespace: String, name: String },
}

impl Subject {
    fn parse(subject: &Value) -> Option<Self> {
        let text = |path: &[&str]| meta::text(subject, path).to_owned();
        match meta::text(subject, &["kind"]) {
            "User" => Some(Self::User(text(&["user", "name"]))),
            "Group" => Some(Self::Group(text(&["group", "name"]))),
            "ServiceAccount" => Some(Self::Account {
                namespace: text(&["serviceAccount", "namespace"]),
                name: text(&["serviceAccount", "name"]),
            }),
            _ => None,
        }
    }

    fn is(&self, user: &User) -> bool {
        let named = |wanted: &str, name: &str| wanted == "*" || wanted == name;
        match self {
            Self::User(wanted) => named(wanted, &user.name),
            Self::Group(wanted) => user.groups.iter().any(|own| named(wanted, own)),
            Self::Account { namespace, name } => {
                let account = user.name.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|own| own.split_once(':'));
                account.is_some_and(|(of, own)| of == namespace && named(name, own))
            }
        }
    }
}

struct Resources {
    rule: authz::Rule,
    cluster_scope: bool,
    namespaces: Vec<String>,
}

impl Resources {
    fn parse(rule: &Value) -> Self {
        let namespaces = each(rule, &["namespaces"]).filter_map(Value::as_str);
        Self {
            rule: authz::Rule::parse(rule),
            cluster_scope: meta::at(rule, &["clusterScope"]).as_bool() == Some(true),
            namespaces: namespaces.map(str::to_owned).collect(),
        }
    }

    fn mean(&self, verb: &str, path: &ResourcePath) -> bool {
        let place =
            if path.namespace.is_empty() { self.cluster_scope } else { lists(&self.namespaces, &path.namespace) };
        let resource = || match path.subresource.as_str() {
            "" => lists(&self.rule.resources, &path.resource),
            sub => lists(&self.rule.resources, &format!("{}/{sub}", path.resource)),
        };
        place && lists(&self.rule.verbs, verb) && lists(&self.rule.groups, &path.group) && resource()
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::authn::MASTERS;
    use crate::flow::defaults;
    use crate::http::Query;

    /// The schemas and levels of a new cluster; their names are their identifiers.
    fn objects() -> (Vec<Value>, Vec<Value>) {
        let named = |(plural, mut object): (&'static str, Value)| {
            object["metadata"]["uid"] = object["metadata"]["name"].clone();
            (plural, object)
        };
        let (levels, schemas): (Vec<_>, Vec<_>) = defaults::objects()
            .into_iter()
            .map(named)
            .partition(|(plural, _)| *plural == "prioritylevelconfigurations");
        let bare = |all: Vec<(&str, Value)>| all.into_iter().map(|(_, object)| object).collect();
        (bare(schemas), bare(levels))
    }

    fn flows((schemas, levels): &(Vec<Value>, Vec<Value>)) -> Flows {
        let flows = Flows::default();
        flows.publish(Table::new(schemas, levels));
        flows
    }

    fn matched(flows: &Flows, user: &User, path: &str) -> String {
        let info = RequestInfo::parse(&Method::GET, path, &Query::default());
        let found = flows.matched(user, &info).expect("something takes everybody");
        format!("{} {}", found.schema.to_str().unwrap(), found.level.to_str().unwrap())
    }

    #[test]
    fn requests_match_the_first_schema_that_means_them() {
        const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x";
        let flows = flows(&objects());
        let (admin, jane) = (User::new("admin", [MASTERS.to_owned()]), User::new("jane", []));
        let node = User::new("system:node:n1", ["system:nodes".to_owned()]);
        let account = |namespace: &str| User::service_account(namespace, "a", "");
        for (user, path, expected) in [
            (&admin, "/api/v1/pods", "exempt exempt"),
            (&jane, "/healthz", "probes exempt"),
            (&User::anonymous(), "/livez", "probes exempt"),
            (&User::anonymous(), "/livez/ping", "probes exempt"),
            (&User::anonymous(), "/livezz", "global-default global-default"),
            (&jane, "/version", "global-default global-default"),
            (&jane, LEASE, "global-default global-default"),
            (&User::anonymous(), "/api/v1/pods", "global-default global-default"),
            (&node, "/api/v1/nodes/n1", "system-node-high node-high"),
            (&node, "/api/v1/nodes/n1/status", "system-node-high node-high"),
            (&node, "/api/v1/nodes/n1/proxy", "system-nodes system"),
            (&node, LEASE, "system-node-high node-high"),
            (&account("kube-system"), LEASE, "system-leader-election leader-election"),
            (&account("kube-system"), "/api/v1/pods", "kube-system-service-accounts workload-high"),
            (&account("other"), LEASE, "service-accounts workload-low"),
            (&User::component("system:kube-scheduler"), "/api/v1/pods", "kube-scheduler workload-high"),
        ] {
            assert_eq!(matched(&flows, user, path), expected, "{} {path}", user.name);
        }
    }

    #[test]
    fn a_rule_means_what_is_below_its_path() {
        for (rule, path, wanted) in [
            ("*", "/x", true),
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/ping", true),
            ("/healthz/", "/healthz/ping", true),
            ("/healthz/*", "/healthz/ping", true),
            ("/healthz/*", "/healthz", false),
            ("/healthz", "/healthzz", false),
            ("/x", "/", false),
        ] {
            assert_eq!(leads_to(rule, path), wanted, "{rule} {path}");
        }
    }

    #[test]
    fn schemas_come_by_precedence_then_by_name_and_only_if_they_lead_somewhere() {
        let mut all = objects();
        let own = |name: &str, precedence: u32, level: &str| {
            json!({"metadata": {"name": name, "uid": name}, "spec": {"matchingPrecedence": precedence,
                "priorityLevelConfiguration": {"name": level}, "rules": [{
                    "subjects": [{"kind": "User", "user": {"name": "noxu"}}],
                    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/version"]}]}]}})
        };
        all.0.extend([own("b", 1000, "system"), own("c", 900, "nowhere"), own("a", 1000, "system")]);
        let flows = flows(&all);
        assert_eq!(matched(&flows, &User::new("noxu", []), "/version"), "a system");
        assert_eq!(matched(&flows, &User::new("noxu", []), "/version/more"), "a system");
        assert_eq!(matched(&flows, &User::new("noxu", []), "/apis"), "global-default global-default");
        assert_eq!(matched(&flows, &User::new("foo", []), "/version"), "global-default global-default");
    }

    #[test]
    fn seats_are_divided_by_shares_and_rounded_up() {
        let (mut text, flows) = (String::new(), flows(&objects()));
        flows.render(&mut text);
        // Of 245 shares in all.
        for (level, seats) in [("exempt", 0), ("catch-all", 13), ("global-default", 49), ("workload-low", 245)] {
            let line = format!("apiserver_flowcontrol_nominal_limit_seats{{priority_level=\"{level}\"}} {seats}");
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_was_counted_of_a_schema_goes_on_while_it_leads_to_the_same_level() {
        let (mut all, jane) = (objects(), User::new("jane", []));
        let flows = flows(&all);
        let info = RequestInfo::parse(&Method::GET, "/version", &Query::default());
        let told = |line: &str| {
            let mut text = String::new();
            flows.render(&mut text);
            let labels = "flow_schema=\"global-default\",priority_level";
            let line = format!("apiserver_flowcontrol_{}", line.replace("LABELS", labels));
            text.lines().any(|own| own == line)
        };
        let under_way = flows.matched(&jane, &info).expect("something takes everybody");
        drop(flows.matched(&jane, &info));
        flows.publish(Table::new(&all.0, &all.1));
        assert!(told("current_executing_requests{LABELS=\"global-default\"} 1"));
        assert!(told("dispatched_requests_total{LABELS=\"global-default\"} 2"));
        drop(under_way);
        assert!(told("current_executing_requests{LABELS=\"global-default\"} 0"));
        assert!(told("request_execution_seconds_count{LABELS=\"global-default\",type=\"regular\"} 2"));
        let moved = all.0.iter_mut().find(|own| meta::name(own) == "global-default").expect("it is one of them");
        moved["spec"]["priorityLevelConfiguration"]["name"] = json!("system");
        flows.publish(Table::new(&all.0, &all.1));
        assert!(told("dispatched_requests_total{LABELS=\"system\"} 0"), "that is another flow");
    }
}
