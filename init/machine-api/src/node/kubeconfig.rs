//! The admin's kubeconfig, as an operator elsewhere uses it.

use tonic::Status;

/// As `rk-control` writes it, for this host: its server is this host's own address.
const KUBECONFIG: &str = "/var/lib/rk-control/admin.kubeconfig";

/// The kubeconfig of the cluster's admin, whose server is the cluster's endpoint.
///
/// # Errors
/// This is no control plane, or it was never up.
pub fn kubeconfig(endpoint: Option<&str>) -> Result<String, Status> {
    let text = std::fs::read_to_string(KUBECONFIG)
        .map_err(|_| Status::failed_precondition("this node has no kubeconfig; ask a control plane that is up"))?;
    // Without an endpoint of its own a control plane knows itself by a loopback address, which says no more than the file.
    Ok(endpoint.map_or(text.clone(), |endpoint| pointed_at(&text, endpoint)))
}

fn pointed_at(text: &str, endpoint: &str) -> String {
    let line = |line: &str| match line.split_once("server: ") {
        Some((before, _)) if before.trim().is_empty() => format!("{before}server: {endpoint}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_the_endpoint_and_nothing_else_changes() {
        let text = "clusters:\n- cluster:\n    certificate-authority-data: c2VydmVyOiA=\n    server: https://127.0.0.1:6443\n  name: rk\n";
        let wanted = text.replace("https://127.0.0.1:6443", "https://10.0.0.9:6443");
        assert_eq!(pointed_at(text, "https://10.0.0.9:6443"), wanted);
    }
}
