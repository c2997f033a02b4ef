"""Each of these mistakes in a kernel turns its emulated test red: a copy of the tree is built, broken in one place at a time, and run."""
import os
import subprocess
import sys
import tempfile
import unittest

MUTATIONS = (  # file under kernels/, what stands there once, what instead, test
    ("linear/linear_step.cuh", "fc_code_chained(CODE) ? acc : zero", "zero", "test_linear"),
    ("linear/linear_step.cuh", "fc_mma_bf16(p, a[1], hi[1]);", "fc_mma_bf16(p, a[1], hi[0]);", "test_linear"),  # a wrong fragment
    ("linear/linear_tile.cuh", "__syncthreads(); /* the step is there for all", "/* the step is there for all", "test_linear"),  # no barrier
    ("linear/linear_panel.cuh", "fc_copy_wait<stages - 2>();", "fc_copy_wait<stages - 1>();", "test_linear"),  # waits for one copy too few
    ("linear/linear_lt.cu", "product_of(a, i, x->codes + (rest ? half : 0), first, x->T, rest)",
     "product_of(a, i, x->codes, first, x->T, rest)", "test_linear_lt"),
    ("linear/linear_block.cuh", "        fc_mbarrier_wait(&bars->empty[slot], parity);\n        if (lane == 0)", "        if (lane == 0)",
     "test_linear_wgmma"),  # a slot refilled unasked
    ("linear/linear_block.cuh", "b + (fc_x_tile_lo(ROWS) >> 4)", "b + (fc_x_tile_lo(ROWS) >> 5)", "test_linear_wgmma"),
    ("linear/linear_block.cuh", "            else fc_wgmma_wait<0>();", "            else fc_wgmma_wait<1>();", "test_linear_wgmma"),  # the last product
    ("linear/linear_block.cuh", "fc_wgmma_wait<1>(); /* all but these", "fc_wgmma_wait<2>(); /* all but these", "test_linear_wgmma"),
    ("linear/linear_block.cuh", "            held = at.slot;", "            held = -1, fc_linear_block_release<CX>(at.bars, at.slot);", "test_linear_wgmma"),
    ("linear/linear_block.cuh", "to = rank % CX + lane * CX;", "to = rank % CX;", "test_linear_wgmma"),  # told to the wrong block
    ("linear/linear_block.cuh", "FC_LINEAR_BLOCK_COPIER * (CX + FC_LINEAR_BLOCK_PAIR - 1)", "FC_LINEAR_BLOCK_COPIER * CX", "test_linear_wgmma"),
    ("linear/linear_block.cuh", "i < p.stages; i++) { /* whoever", "i < 0; i++) { /* whoever", "test_linear_wgmma"),  # a block ends too early
    ("head/head_wgmma.cu", "fc_bar_sync(1, FC_LINEAR_BLOCK_ADDERS);", "", "test_head_wgmma"),  # logits over what is still read
    ("head/head_wgmma.cu", "        fc_cluster_sync();", "        fc_bar_sync(1, FC_LINEAR_BLOCK_ADDERS);", "test_head_wgmma"),
    ("linear/linear_x.cu", "^ (r % 8)", "^ (r % 4)", "test_linear_wgmma"),  # a wrong swizzle
    ("attn/attn_rows.cuh", "sum[half] +=", "sum[half] =", "test_attn_wide"),
    ("attn/attn_wide.cu", "fc_mbarrier_wait(&m->empty[wide_place(h)], wide_parity(h) ^ 1);", "", "test_attn_wide"),  # a place refilled unasked
    ("attn/attn_wide.cu", "fc_wgmma_wait<1>();", "fc_wgmma_wait<2>();", "test_attn_wide"),  # scores that are not there
    ("attn/attn_wide.cu", "^ (row % 8)", "^ (row % 4)", "test_attn_wide"),  # a wrong swizzle
    ("attn/attn_wide.cu", "    fc_copy_wait<LEFT>();\n    fc_proxy_fence();", "    fc_copy_wait<LEFT>();", "test_attn_wide"),
    ("attn/attn_wide.cu", "fc_mbarrier_wait(&m->done[i % 2], (i / 2 & 1) ^ 1);", "", "test_attn_wide"),  # a unit dealt over one that is worked on
    ("attn/attn_work.cuh", "*l = *l * *keep + l2 * *add;", "*l = *l * *keep + l2;", "test_attn"),
    ("rmsnorm/rmsnorm.cu", "if (r.res && !p.rows) r.res[d] = h[i];", "", "test_rmsnorm"),
    ("rope_kv/rope_kv.cu", "c = c > 127.0f ? 127.0f : c < -127.0f ? -127.0f : c;", "c = c > 127.0f ? -127.0f : c;", "test_rope_kv"),
    ("kv/kv_copy.cu", "copy_piece<WIDE>(to.v, from.v, part);", "", "test_kv_copy"),
    ("draw/draw.cu", "if (!fc_keeps(&st->keep, v[j], from + fc_lane() * FC_TILE_LANE + j)) v[j] = -INFINITY;", ";", "test_draw"),
    ("logprob/logprob.cu", "p.a.lp[at + (size_t)better] = (float)((double)m->x[k] - lse.lse);",
     "p.a.lp[at + (size_t)better] = m->x[k];", "test_logprob"),
    ("head/head_draw.cu", "if (q.tile[e] == k) atomicOr(&s->earlier, 1u);", "if (q.tile[e] >= k) atomicOr(&s->earlier, 1u);", "test_head_draw"),
    ("embed/embed.cu", "token % FC_PANEL, k);", "token % FC_PANEL, k ^ 1);", "test_embed"),
)


def run(*args):
    return subprocess.run(args, capture_output=True, text=True)


class Mutations(unittest.TestCase):
    def test_each_turns_its_test_red(self):
        with tempfile.TemporaryDirectory() as d:
            files = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True).stdout
            subprocess.run(["xargs", "-0", "cp", "--parents", "-t", d], input=files, check=True)
            build = os.path.join(d, "build")
            tests = sorted({test for *_, test in MUTATIONS})
            said = run("cmake", "-S", d, "-B", build, "-G", "Ninja", "-DFORKCAST_TESTS=ON", "-DFORKCAST_CUDA=OFF")
            self.assertEqual(said.returncode, 0, said.stderr)

            def make(targets):
                said = run("ninja", "-C", build, *(f"emu_{t}" for t in targets))
                self.assertEqual(said.returncode, 0, said.stdout[-4000:])

            def red(test):
                return run("timeout", "900", os.path.join(build, "tests", "cuda_emu", f"emu_{test}")).returncode != 0

            make(tests)
            for test in tests:
                self.assertFalse(red(test), f"{test} fails as it is")
            for name, what, instead, test in MUTATIONS:
                path = os.path.join(d, "kernels", name)
                with open(path) as f:
                    text = f.read()
                self.assertEqual(text.count(what), 1, f"{name}: {what}")
                with open(path, "w") as f:
                    f.write(text.replace(what, instead))
                make([test])
                self.assertTrue(red(test), f"{name} without \"{what}\", and {test} passes")
                print(f"{name}: \"{what}\": {test} is red", flush=True)
                with open(path, "w") as f:
                    f.write(text)


if __name__ == "__main__":
    if run("git", "rev-parse").returncode:
        print("skipped: no git, which lists the files")
        sys.exit(77)
    unittest.main()
