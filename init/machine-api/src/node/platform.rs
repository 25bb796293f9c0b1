//! Clouds: how each is recognized, and where it keeps what the operator gave the machine.

/// The link-local address at which all of them answer.
pub const METADATA: &str = "http://169.254.169.254";

/// A place that provides machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// Amazon EC2, by IMDSv2 only.
    Aws,
    /// Google Compute Engine.
    Gcp,
    /// Microsoft Azure.
    Azure,
    /// OpenStack.
    OpenStack,
}

/// What the firmware reports about the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dmi {
    /// `sys_vendor`.
    pub vendor: String,
    /// `product_name`.
    pub product: String,
    /// `chassis_asset_tag`.
    pub asset_tag: String,
}

/// One question to the metadata service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// GET or PUT.
    pub method: &'static str,
    /// Path and query.
    pub path: &'static str,
    /// Headers beside the ordinary ones.
    pub headers: Vec<(&'static str, String)>,
}

impl Platform {
    /// As `rk.platform=` names it.
    pub fn named(name: &str) -> Option<Platform> {
        Some(match name {
            "aws" => Platform::Aws,
            "gcp" => Platform::Gcp,
            "azure" => Platform::Azure,
            "openstack" => Platform::OpenStack,
            _ => return None,
        })
    }

    /// By what the firmware reports.
    pub fn detect(dmi: &Dmi) -> Option<Platform> {
        // The tag that Azure documents for its machines.
        const AZURE_TAG: &str = "7783-7084-3265-9085-8269-3286-77";
        let openstack = ["OpenStack Nova", "OpenStack Compute"].contains(&dmi.product.as_str());
        match dmi.vendor.as_str() {
            "Amazon EC2" => Some(Platform::Aws),
            "Google" => Some(Platform::Gcp),
            _ if dmi.asset_tag == AZURE_TAG => Some(Platform::Azure),
            _ if openstack => Some(Platform::OpenStack),
            _ => None,
        }
    }

    /// The question whose answer is a token that the other questions must carry.
    pub fn token(self) -> Option<Question> {
        let headers = vec![("x-aws-ec2-metadata-token-ttl-seconds", "300".to_owned())];
        (self == Platform::Aws).then_some(Question { method: "PUT", path: "/latest/api/token", headers })
    }

    /// The question for the operator's data.
    pub fn user_data(self, token: &str) -> Question {
        self.question(
            match self {
                Platform::Aws => "/latest/user-data",
                Platform::Gcp => "/computeMetadata/v1/instance/attributes/user-data",
                Platform::Azure => "/metadata/instance/compute/userData?api-version=2021-01-01&format=text",
                Platform::OpenStack => "/openstack/latest/user_data",
            },
            token,
        )
    }

    /// The question for the machine's name, where it is plain text.
    pub fn hostname(self, token: &str) -> Question {
        self.question(
            match self {
                Platform::Aws => "/latest/meta-data/local-hostname",
                Platform::Gcp => "/computeMetadata/v1/instance/hostname",
                Platform::Azure => "/metadata/instance/compute/name?api-version=2021-01-01&format=text",
                Platform::OpenStack => "/latest/meta-data/local-hostname",
            },
            token,
        )
    }

    /// Whether the operator's data comes in base64.
    pub fn encoded(self) -> bool {
        self == Platform::Azure
    }

    fn question(self, path: &'static str, token: &str) -> Question {
        let headers = match self {
            Platform::Aws => vec![("x-aws-ec2-metadata-token", token.to_owned())],
            Platform::Gcp => vec![("metadata-flavor", "Google".to_owned())],
            Platform::Azure => vec![("metadata", "true".to_owned())],
            Platform::OpenStack => Vec::new(),
        };
        Question { method: "GET", path, headers }
    }
}

/// Reads what firmware says; empty where it says nothing.
pub fn dmi() -> Dmi {
    let read = |name: &str| {
        std::fs::read_to_string(format!("/sys/class/dmi/id/{name}"))
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    };
    Dmi { vendor: read("sys_vendor"), product: read("product_name"), asset_tag: read("chassis_asset_tag") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clouds_are_told_by_their_firmware_and_other_machines_are_none() {
        let dmi = |vendor: &str, product: &str, tag: &str| Dmi {
            vendor: vendor.to_owned(),
            product: product.to_owned(),
            asset_tag: tag.to_owned(),
        };
        let table = [
            (dmi("Amazon EC2", "t3.micro", ""), Some(Platform::Aws)),
            (dmi("Google", "Google Compute Engine", ""), Some(Platform::Gcp)),
            (
                dmi("Microsoft Corporation", "Virtual Machine", "7783-7084-3265-9085-8269-3286-77"),
                Some(Platform::Azure),
            ),
            (dmi("Microsoft Corporation", "Virtual Machine", ""), None),
            (dmi("OpenStack Foundation", "OpenStack Nova", ""), Some(Platform::OpenStack)),
            (dmi("QEMU", "Standard PC", ""), None),
        ];
        for (dmi, wanted) in table {
            assert_eq!(Platform::detect(&dmi), wanted, "{dmi:?}");
        }
    }
}
