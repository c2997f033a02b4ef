"""What both trainings share: the base model, batches, the schedule, the folder that is written."""
import json
import math
import os
import random
import time

import peft
import torch

from tables import DataError, read_table

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
BASE = "SmolLM2-135M-Instruct"  # in the adapter's config, in place of a path of the machine it was trained on


def add_options(p, epochs, rate, batch=16, what="examples"):
    p.add_argument("--folder", default="build/movielens", help="tables of prepare.py and the base model (%(default)s)")
    p.add_argument("--out", required=True, help="folder of the adapter")
    p.add_argument("--epochs", type=int, default=epochs, help="%(default)s")
    p.add_argument("--rate", type=float, default=rate, help="highest learning rate (%(default)s)")
    p.add_argument("--batch", type=int, default=batch, help=f"{what} a step (%(default)s)")
    p.add_argument("--rank", type=int, default=8, help="r of LoRA (%(default)s)")
    p.add_argument("--layers", type=int, default=15, help="the upper layers that are adapted; 0: all (%(default)s)")
    p.add_argument("--seed", type=int, default=1, help="%(default)s")
    p.add_argument("--threads", type=int, default=0, help="0: all cores")
    p.add_argument("--precision", choices=("bfloat16", "float32"), default=fastest(),
                   help="that frozen matrices are multiplied in; bfloat16 where the processor has it, else float32 (%(default)s here)")


def fastest():
    """The precision whose products are quickest: a processor without bfloat16 works through it in software, four times as slow."""
    has = torch.cpu.get_capabilities()
    return "bfloat16" if any(has.get(k) for k in ("avx512_bf16", "amx_bf16", "bf16")) else "float32"


def begin(args):
    torch.manual_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.epochs < 1 or args.batch < 1 or args.rank < 1:
        raise DataError(f"{args.epochs} epochs, batch {args.batch}, rank {args.rank}: each is at least 1")
    base = os.path.join(args.folder, "base")
    if not os.path.isdir(base):
        raise DataError(f"{base} is not there; run.sh --train makes it with bench/peers/gguf_to_hf.py")
    return base


def lora(args, base, task):
    """Upper layers alone: what lies below them needs no backward pass, and the file is smaller."""
    with open(os.path.join(base, "config.json"), encoding="utf-8") as f:
        layers = json.load(f)["num_hidden_layers"]
    if not 0 <= args.layers <= layers:
        raise DataError(f"{args.layers} upper layers; {base} has {layers}")
    upper = list(range(layers - args.layers, layers)) if args.layers else None
    return peft.LoraConfig(r=args.rank, lora_alpha=2 * args.rank, target_modules=TARGETS, layers_to_transform=upper, task_type=task)


def lightened(model, args):
    """MODEL with its frozen matrices in the precision that they are multiplied in: nothing is rounded again in each step. What
    runs along the layers, and what is trained, stays in full precision."""
    for layer in model.model.layers:
        for part in layer.modules():
            if isinstance(part, torch.nn.Linear):
                part.to(getattr(torch, args.precision))
    return model


def padded(sequences, value=0):
    """[B, longest] of lists of ids, filled up at the right, and the mask of what is real."""
    longest = max(map(len, sequences))
    ids = torch.tensor([s + [value] * (longest - len(s)) for s in sequences])
    mask = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in sequences])
    return ids, mask


def tree(batch):
    """Of [(ids of a prompt, [ids of a name that stands behind it])] one row for each prompt, its names behind one another: ids and
    positions [B,T], who sees whom [B,1,T,T], and where each name begins (row, t). A name sees the prompt and itself, and its
    positions begin behind the prompt, as if it stood there alone."""
    rows, positions, owners, starts = [], [], [], []
    for b, (prompt, names) in enumerate(batch):
        row, position, owner = list(prompt), list(range(len(prompt))), [0] * len(prompt)
        for number, name in enumerate(names, 1):
            starts.append((b, len(row)))
            row += name
            position += range(len(prompt), len(prompt) + len(name))
            owner += [number] * len(name)
        rows.append(row)
        positions.append(position)
        owners.append(owner)
    x, real = padded(rows)
    owner, _ = padded(owners)
    same = (owner[:, :, None] == owner[:, None, :]) | (owner == 0)[:, None, :]
    sees = same & (real == 1)[:, None, :] & torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
    sees |= torch.eye(x.shape[1], dtype=torch.bool)  # what only fills up sees itself, so that no row is empty
    return x, padded(positions)[0], sees[:, None], starts


def train(model, make_examples, loss_of, args):
    """make_examples(epoch): the epoch's examples; loss_of(batch): mean loss. Warm-up, then a cosine down to nothing."""
    rng = random.Random(args.seed)
    order = []
    for epoch in range(args.epochs):
        examples = make_examples(epoch)
        rng.shuffle(examples)
        order += [examples[i:i + args.batch] for i in range(0, len(examples), args.batch)]
    weights = [w for w in model.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=args.rate, weight_decay=0.0)
    warm = max(1, len(order) // 20)
    shape = lambda step: min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * max(0, step - warm) / max(1, len(order) - warm))))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, shape)
    model.train()
    began, losses = time.monotonic(), []
    for step, batch in enumerate(order, 1):
        with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bfloat16"):
            loss = loss_of(batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 10 == 0 or step == len(order):
            recent = losses[-50:]
            print(f"step {step} of {len(order)}, loss {sum(recent) / len(recent):.4f}, {time.monotonic() - began:.0f} s",
                  flush=True)
    return {"steps": len(order), "last_loss": round(sum(losses[-50:]) / len(losses[-50:]), 4)}


def save(model, args, record):
    """The adapter in half precision, and beside it how it was made."""
    model.eval()
    config = model.peft_config["default"]
    config.base_model_name_or_path, config.target_modules = BASE, sorted(config.target_modules)  # a set has another order each time
    for w in model.parameters():
        if w.requires_grad:
            w.data = w.data.half()
    model.save_pretrained(args.out)
    readme = os.path.join(args.out, "README.md")
    if os.path.exists(readme):
        os.remove(readme)  # peft's form for a model card, not filled in
    how = {k: v for k, v in vars(args).items() if k not in ("folder", "out")}
    with open(os.path.join(args.out, "training.json"), "w", encoding="utf-8") as f:
        json.dump({"options": how, **record, "torch": torch.__version__.split("+")[0]}, f, indent=2)
        f.write("\n")


def read_examples(folder, name, columns):
    rows = read_table(os.path.join(folder, name), columns)
    if not rows:
        raise DataError(f"{os.path.join(folder, name)} has no examples")
    return rows
