# Not part of a campaign: ask for it by name (snakemake train).
rule train:
    output:
        checkpoint=f"{CAMPAIGN.config.train.output}/score.safetensors",
        card=f"{CAMPAIGN.config.train.output}/score.json",
    log:
        f"{CAMPAIGN.config.train.output}/train.log",
    conda:
        "../envs/chggen.yaml"
    # at most; Snakemake lowers it to --cores
    threads: 16
    resources:
        mem_mb=lambda wildcards, attempt: 12000 * attempt,
        runtime=2880,
    params:
        given=CAMPAIGN.training(),
        code=CAMPAIGN.code("train"),
    script:
        "../scripts/train.py"
