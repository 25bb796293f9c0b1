//! From the API's words to the runtime's: sandbox and container configurations, environment, DNS, hosts. Values only.

mod container;
mod dns;
mod env;
mod env_file;
mod expand;
mod fields;
mod hosts;
mod sandbox;
mod security;
mod service_env;
mod users;

pub use container::{ContainerInputs, container_config};
pub use dns::{HostResolver, Shortfall, pod_dns};
pub use env::{EnvFile, EnvSources, Environment, environment, references};
pub use expand::expand;
pub use fields::{FieldContext, field_value, resource_value};
pub use hosts::{host_network_hosts, managed_hosts};
pub use sandbox::{check_hostname, log_directory, sandbox_config, sysctls};
pub use security::{Seccomp, check_non_root, effective};
pub use service_env::{ServiceInfo, service_environment};
pub use users::{give_container_users, give_users};
