# What the run.sh of every corpus does. Sourced, with the corpus' facts, then the user's words:
#
#   corpus NAME TABLE SPLIT "$0" "$@"
#
#   NAME    of data_prep/NAME_prepare.py and hparams/NAME.yaml; its folder is known to the tables as NAME_FOLDER
#   TABLE   of recipes/tables whose rows end in _NAME
#   SPLIT   that is scored, where the preparation has to be told; else ""
corpus() {
    local name=$1 table=$2 split=$3 script=$4
    shift 4
    if [ $# -lt 2 ] || [ "$1" = --help ]; then
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p;}' "$script"
        return 2
    fi
    local data model=$2 stages=${STAGES:-prepare score}
    data=$(realpath "$1")
    shift 2
    [ ! -e "$model" ] || model=$(realpath "$model")
    cd "$(dirname "$script")/../.."
    export OMP_WAIT_POLICY=${OMP_WAIT_POLICY-passive} GOMP_SPINCOUNT=${GOMP_SPINCOUNT-0}  # wait without spinning

    wanted() { case " $stages " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

    if wanted prepare; then
        python "data_prep/${name}_prepare.py" --data_folder "$data" --manifest_folder "results/$name/manifests" \
            ${split:+--split "$split"}
    fi
    if wanted score; then
        python evaluate.py "hparams/$name.yaml" --data_folder "$data" --weights "$model" \
            --output_folder "results/$name/scores" "$@"
    fi
    if wanted rows; then
        env "$(printf %s "$name" | tr "[:lower:]" "[:upper:]")_FOLDER=$data" bash "recipes/tables/$table.sh" --rows "*_$name"
    fi
}
