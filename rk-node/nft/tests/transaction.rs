//! Transactions against the kernel, in a network namespace of the test's own thread. Needs root.

use nix::sched::{CloneFlags, unshare};
use rk_nft::{Batch, Chain, Element, Expr, Family, Hook, Netfilter, Set, Value, Verdict};

const TABLE: &str = "rk-test";

/// Runs on a thread that has an empty network namespace; nothing of it outlives the thread.
fn alone(work: impl FnOnce(Netfilter) + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare");
        work(Netfilter::open().expect("open"));
    });
    thread.join().expect("thread");
}

fn base(batch: &mut Batch) {
    batch.add_table(Family::Ip, TABLE);
    batch.add_set(
        Family::Ip,
        TABLE,
        &Set { name: "map", key_type: 0, key_len: 4, data_len: Some(4), timeout_ms: None, size: None },
    );
    batch.add_chain(
        Family::Ip,
        TABLE,
        Chain { name: "in", hook: Some(Hook { kind: "filter", number: 1, priority: 0 }) },
    );
}

#[test]
fn a_transaction_is_applied_and_read_back() {
    alone(|netfilter| {
        let mut batch = Batch::new();
        base(&mut batch);
        let elements: Vec<Element> = (0..1000u32)
            .map(|n| Element { key: n.to_be_bytes().to_vec(), value: Value::Data(vec![1, 2, 3, 4]) })
            .collect();
        batch.add_elements(Family::Ip, TABLE, "map", &elements);
        batch.add_rule(Family::Ip, TABLE, "in", &[Expr::Counter, Expr::Verdict(Verdict::Accept)], &[]);
        netfilter.commit(batch).expect("commit");
        assert_eq!(netfilter.chains(Family::Ip, TABLE).expect("chains"), ["in"]);
        assert_eq!(netfilter.rules(Family::Ip, TABLE, "in").expect("rules"), 1);
        let held = netfilter.elements(Family::Ip, TABLE, "map").expect("elements");
        assert_eq!(held.len(), 1000);
        assert!(held.iter().all(|(_, data)| *data == [1, 2, 3, 4]));
        assert_eq!(netfilter.elements(Family::Ip, TABLE, "none").expect("no such set"), []);
    });
}

#[test]
fn a_refused_change_is_named_and_nothing_of_its_transaction_stays() {
    alone(|netfilter| {
        let mut batch = Batch::new();
        base(&mut batch);
        batch.delete_chain(Family::Ip, TABLE, "absent");
        batch.add_chain(Family::Ip, TABLE, Chain { name: "later", hook: None });
        let error = netfilter.commit(batch).expect_err("refused");
        assert_eq!(error.to_string(), "nftables refused to delete chain rk-test absent");
        assert_eq!(error.errno(), Some(nix::libc::ENOENT));
        assert!(netfilter.chains(Family::Ip, TABLE).expect("chains").is_empty());
        let mut batch = Batch::new();
        base(&mut batch);
        netfilter.commit(batch).expect("the socket still works");
        assert!(netfilter.commit(Batch::new()).is_ok(), "nothing to do is fine");
    });
}
