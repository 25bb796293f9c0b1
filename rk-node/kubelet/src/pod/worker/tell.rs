//! What a worker tells while something of its pod takes long: others rely on the pod for as long as it says that it is ready.

use super::Worker;
use crate::runtime::RuntimePod;

impl Worker {
    /// Does what takes long and tells meanwhile what probes find, which upstream's kubelet tells beside its workers.
    pub(super) async fn while_telling<T>(&mut self, runtime: &RuntimePod, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut woken = false;
        let done = loop {
            tokio::select! {
                biased;
                done = &mut work => break done,
                () = self.heard.wake.notified() => {
                    woken = true;
                    self.tell_again(runtime);
                }
            }
        };
        if woken {
            // Whatever else it was woken for has its turn afterwards.
            self.heard.wake.notify_one();
        }
        done
    }

    /// Tells of the pod as it is wanted now and was seen by the look that is acted upon.
    pub(super) fn tell_again(&mut self, runtime: &RuntimePod) {
        let desired = self.desired.borrow().clone();
        if !desired.gone() {
            let pod = self.current(&desired);
            self.publish(&pod, runtime, false, false);
        }
    }
}
