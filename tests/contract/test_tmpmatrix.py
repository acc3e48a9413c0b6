import sys, pytest, torch, time
sys.path.insert(0, "/work/main/tests/contract")
import test_vision_battery as t
def test_matrix(trial_of):
    for m in t.METHODS:
        for f in t.FAMILIES:
            s=time.time()
            try:
                tr = trial_of(t.load(m,f), m)
                c, why = t.count_assembly(tr.assembly)
                b = tr.material.encoded["train"].collate(range(24))
                def loss():
                    with tr.assembly.predicting(merge=False):
                        a,n = t.TASK.loss(tr.assembly(b), b.targets); return float(a)/n
                l0=loss(); start={k:v.detach().clone() for k,v in tr.assembly.attachment.trained.items()}
                tr.run()
                moved=[k for k,v in tr.assembly.attachment.trained.items() if torch.equal(v,start[k])]
                print(f"{m:28s}{f:20s} {l0:.3f}->{loss():.3f} th {c.trainable_theory}=={c.trainable} still {moved[:3]} {why[:40]} {time.time()-s:.2f}s", flush=True)
            except Exception as e:
                print(f"{m:28s}{f:20s} {type(e).__name__} {e}", flush=True)
for n in ("drawn","trial_of"): globals()[n]=getattr(t,n)
